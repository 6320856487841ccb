"""A small server for the site on this machine: GET only, from a dictionary, for this machine's own names only.

There is no body to read, no parameter and no route, only a dictionary from path to content, so that a request
never becomes a path of the disk, and no CORS.
"""

from __future__ import annotations

import posixpath
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus

from keyturn.core.loopback import LoopbackHandler, LoopbackServer

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".bib": "text/plain; charset=utf-8",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
DEADLINE = 10.0
"""Seconds after which a connection that sends or takes nothing is closed."""
AT_ONCE = 32
"""Connections at a time; more wait in the queue of the operating system."""
LONGEST = 2048
"""Letters of a path."""


class Server(LoopbackServer):
    """Serves ``content()`` on a port of this machine.

    Args:
        content: gives path -> bytes; asked for every request, so that it can follow what changes.
        port: 0 takes any that is free.
        policy: the content security policy of the pages.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, content: Callable[[], Mapping[str, bytes]], *, port: int, policy: str) -> None:
        self.content, self.policy = content, policy
        super().__init__(_Handler, port=port, at_once=AT_ONCE)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/"


class _Handler(LoopbackHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = DEADLINE
    longest = 6 * DEADLINE

    def do_GET(self) -> None:
        """A page or a file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The head of a page or a file."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if len(self.headers.get_all("Host", [])) != 1:
            return self._refuse(HTTPStatus.BAD_REQUEST, body)
        if self.headers["Host"].strip().lower() not in self.server.hosts:
            return self._refuse(HTTPStatus.MISDIRECTED_REQUEST, body)
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return self._refuse(HTTPStatus.BAD_REQUEST, body)
        if len(self.path) > LONGEST or not self.path.startswith("/"):
            return self._refuse(HTTPStatus.NOT_FOUND, body)
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path, errors="replace")[1:]
        content = self.server.content()
        found = content.get(name + "index.html" if not name or name.endswith("/") else name)
        if found is None:
            return self._refuse(HTTPStatus.NOT_FOUND, body)
        kind = TYPES.get(posixpath.splitext(name or "index.html")[1], TYPES[".html"])
        self._send(HTTPStatus.OK, kind, found, body)

    def _refuse(self, status: HTTPStatus, body: bool) -> None:
        self.close_connection = True
        self._send(status, TYPES[".txt"], f"{status.value} {status.phrase}\n".encode(), body)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, body: bool) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", self.server.policy + "; frame-ancestors 'none'")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if body:
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors that the library finds, such as a method that is not offered: a plain line, nothing echoed."""
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._refuse(status, self.command != "HEAD")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed for a request."""
