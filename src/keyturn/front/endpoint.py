"""An elicited policy behind an OpenAI-compatible endpoint on this machine alone, so that a method can be used.

``/v1/models``, ``/v1/completions`` and ``/v1/chat/completions``, as :mod:`keyturn.front.served` reads and
answers them, one after the other.

It listens on 127.0.0.1 only, and refuses other names of this machine, requests from web pages (those have an
``Origin``), long bodies and more than a few connections. It reads no path of the disk.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from keyturn.core.errors import KeyturnError
from keyturn.core.loopback import LoopbackHandler, LoopbackServer
from keyturn.front.served import Request, Served, Wrong, document, events

BODY, AT_ONCE = 1 << 20, 16
"""Most bytes of a request, and connections at a time."""
PASSED_OVER = 64 * BODY
"""Most bytes that are read of a request that is refused, so that the client hears why."""
DEADLINE = 30.0
"""Seconds after which a connection that sends or takes nothing is closed."""


class Endpoint(LoopbackServer):
    """Serves a policy on a port of this machine.

    Args:
        policy: what is served.
        port: 0 takes any that is free.

    Raises:
        UsageError: the port is taken.
    """

    def __init__(self, policy: Served, *, port: int) -> None:
        self.policy = policy
        self.one_at_a_time = threading.Lock()
        super().__init__(_Handler, port=port, at_once=AT_ONCE)

    @property
    def url(self) -> str:
        """The policy's name for an audit."""
        return f"http://127.0.0.1:{self.port}/v1#{self.policy.name}"


class _Handler(LoopbackHandler):
    """One request."""

    server: Endpoint
    timeout = DEADLINE
    _was_read = False
    _streams = False

    def do_GET(self) -> None:
        """The list of models."""
        self._reply(lambda: self._listed())

    def do_POST(self) -> None:
        """Completions."""
        self._reply(lambda: self._completed())

    def _reply(self, make: Any) -> None:
        self._streams = False
        try:
            self._check()
            status, document = HTTPStatus.OK, make()
        except Wrong as wrong:
            self._pass_over()
            status, document = wrong.status, {"error": {"message": wrong.why, "type": "invalid_request_error"}}
        except KeyturnError as error:
            status, document = HTTPStatus.BAD_REQUEST, {"error": {"message": str(error)}}
        streamed = self._streams and status == HTTPStatus.OK
        pieces = events(document) if streamed else (document,)
        lines = [json.dumps(one, allow_nan=False) for one in pieces]
        content = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]")) if streamed else lines[0]
        self._send(status, content.encode(), "text/event-stream" if streamed else "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _pass_over(self) -> None:
        """Read what was sent and is not used.

        Closing before would cut the client off in the middle of its request: it would see a broken pipe and not
        the reason.
        """
        length = self.headers.get("Content-Length", "")
        left = int(length) if length.isdigit() and not self._was_read else 0
        while 0 < left <= PASSED_OVER:
            piece = len(self.rfile.read(min(left, 1 << 16)))
            left = left - piece if piece else 0

    def _check(self) -> None:
        """Refuse other names of this machine, and web pages."""
        if self.headers.get("Host", "").strip().lower() not in self.server.hosts:
            raise Wrong(HTTPStatus.MISDIRECTED_REQUEST, "another host")
        if self.headers.get("Origin"):
            raise Wrong(HTTPStatus.FORBIDDEN, "requests from web pages are not answered")

    def _listed(self) -> dict[str, Any]:
        if self.path != "/v1/models":
            raise Wrong(HTTPStatus.NOT_FOUND, "no such path")
        row = {"id": self.server.policy.name, "object": "model", "owned_by": "keyturn"}
        return {"object": "list", "data": [row]}

    def _completed(self) -> dict[str, Any]:
        routes = {"/v1/completions": False, "/v1/chat/completions": True}
        if self.path not in routes:
            raise Wrong(HTTPStatus.NOT_FOUND, "no such path")
        chat = routes[self.path]
        policy = self.server.policy
        if chat and not policy.chat:
            raise Wrong(HTTPStatus.BAD_REQUEST, "the model has no chat template; use /v1/completions")
        if not chat and policy.chat:
            what = (
                "prompts go through a chat template; use /v1/chat/completions, or serve with --template plain"
            )
            raise Wrong(HTTPStatus.BAD_REQUEST, what)
        request = Request.read(self._body(), policy, chat=chat)
        self._streams = request.stream
        with self.server.one_at_a_time:
            given, drawn = policy.answer(
                request.problems, request.count, request.seed, request.tokens, request.stops
            )
        return document(policy, request, given, drawn, chat=chat)

    def _body(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or "Transfer-Encoding" in self.headers:
            raise Wrong(HTTPStatus.LENGTH_REQUIRED, "a request says how long it is")
        if int(length) > BODY:
            raise Wrong(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY} bytes")
        self._was_read = True
        try:
            found = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Wrong(HTTPStatus.BAD_REQUEST, "the request is not JSON") from error
        if not isinstance(found, dict):
            raise Wrong(HTTPStatus.BAD_REQUEST, "the request is no object")
        return found

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed for a request."""
