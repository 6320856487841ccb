"""An HTTP server for this machine alone: one address, its own names, a cap on connections, a deadline for each.

It is Python's own ``http.server``. Another site's name that was made to point here is refused by whoever
compares a request's ``Host`` with :attr:`LoopbackServer.hosts`. An asynchronous server would add two packages
and no safety to that.
"""

from __future__ import annotations

import http.server
import logging
import socket
import threading

from keyturn.core.errors import UsageError

_log = logging.getLogger("keyturn")


class LoopbackServer(http.server.ThreadingHTTPServer):
    """Listens on a port of 127.0.0.1.

    Args:
        handler: answers one connection.
        port: 0 takes any that is free.
        at_once: connections at a time; more wait in the queue of the operating system.

    Raises:
        UsageError: the port is no port, or is taken.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[LoopbackHandler], *, port: int, at_once: int) -> None:
        self._seats = threading.BoundedSemaphore(at_once)
        if not 0 <= port < 65536:
            raise UsageError(f"--port is {port}", fix="a number up to 65535; 0 takes any that is free")
        try:
            super().__init__(("127.0.0.1", port), handler)
        except OSError as error:
            what = f"port {port} cannot be taken ({error.strerror})"
            raise UsageError(what, fix="another one: --port 0 takes any") from error
        self.port = int(self.server_address[1])
        names = ("127.0.0.1", "localhost")
        self.hosts = {f"{name}:{self.port}" for name in names} | (set(names) if self.port == 80 else set())

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


class LoopbackHandler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection.

    ``timeout`` is the time in seconds after which a connection is closed that sends or takes nothing;
    ``longest`` the time after which it is closed whatever it does, where something may trickle in all the time
    (None: never).
    """

    server_version, sys_version = "keyturn", ""
    timeout = 10.0
    longest: float | None = None
    _clock: threading.Timer | None = None

    def setup(self) -> None:
        """Start the clock."""
        super().setup()
        if self.longest is not None:
            self._clock = threading.Timer(self.longest, self._close)
            self._clock.daemon = True
            self._clock.start()

    def finish(self) -> None:
        """Stop the clock."""
        if self._clock is not None:
            self._clock.cancel()
        super().finish()

    def _close(self) -> None:
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
