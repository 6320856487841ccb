"""A small server for the site on this machine: GET only, from a dictionary, for this machine's own names only.

It is Python's own ``http.server``: there is no body to read, no parameter and no route, only a dictionary from
path to content, so that a request never becomes a path of the disk. What such a server needs is here: a list of
hosts (another site's name that was made to point here is refused), no CORS, a deadline for every connection,
and a cap on how many there are at once. An asynchronous server would add two packages and no safety to that.
"""

from __future__ import annotations

import http.server
import logging
import posixpath
import socket
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus

from keyturn.core.errors import UsageError

_log = logging.getLogger("keyturn")
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


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content()`` on a port of this machine.

    Args:
        content: gives path -> bytes; asked for every request, so that it can follow what changes.
        port: 0 takes any that is free.
        policy: the content security policy of the pages.

    Raises:
        UsageError: the port is taken.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, content: Callable[[], Mapping[str, bytes]], *, port: int, policy: str) -> None:
        self.content, self.policy = content, policy
        self._seats = threading.BoundedSemaphore(AT_ONCE)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be taken ({error.strerror})", fix="another one: --port 0 takes any"
            ) from error
        port = self.server_address[1]
        names = ("127.0.0.1", "localhost")
        self.hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Bind without asking for the machine's name, which may ask the network."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Wait for a seat, then answer in a thread."""
        self._seats.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Answer, and leave the seat."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._seats.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""
        _log.debug("a connection failed", exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "keyturn", ""
    timeout = DEADLINE

    def setup(self) -> None:
        """Close the connection at its deadline, also where something trickles in all the time."""
        super().setup()
        self._clock = threading.Timer(6 * DEADLINE, self._close)
        self._clock.daemon = True
        self._clock.start()

    def finish(self) -> None:
        """Stop the clock."""
        self._clock.cancel()
        super().finish()

    def _close(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

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
