"""One JSON request, with further attempts where they can help. It needs only the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from keyturn.core.errors import InputError
from keyturn.core.text import one_line
from keyturn.policies.balance import Addresses

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MOST_BYTES = 64 << 20


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would carry the key to another address and turn a POST into a GET."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


_OPENER = urllib.request.build_opener(_Straight)


class Unanswered(Exception):
    """No usable answer after all attempts; the message gives the reason."""


class Refused(InputError):
    """The server will refuse every such request.

    Args:
        what, fix: see :class:`~keyturn.core.errors.KeyturnError`.
        status: status of the HTTP reply.
    """

    def __init__(self, what: str, *, fix: str = "", status: int = 0) -> None:
        super().__init__(what, fix=fix)
        self.status = status


class Patience(Protocol):
    """Time-out, number of attempts, and pauses between them."""

    @property
    def timeout_s(self) -> float:
        """Seconds for one answer."""
        ...

    @property
    def retries(self) -> int:
        """Further attempts after the first."""
        ...

    @property
    def pause_s(self) -> float:
        """First pause between attempts."""
        ...


def post(
    to: Addresses,
    body: Mapping[str, Any],
    key: str,
    patience: Patience,
    jitter: np.random.Generator,
    halt: threading.Event,
) -> dict[str, Any]:
    """Post a JSON document and return the JSON object that comes back.

    Args:
        to: address of the request.
        body: JSON document to post.
        key: bearer token, empty for none; no message contains it.
        patience: time-out, attempts, pauses.
        jitter: spreads the pauses.
        halt: when set, no further attempt is made.

    Raises:
        Refused: a status that another attempt will not change.
        Unanswered: every attempt met a rate limit, a fault, a time-out or a broken reply.
    """
    why = "not tried"
    attempts = patience.retries + len(to)
    for attempt in range(attempts):
        if halt.is_set():
            raise Unanswered("stopped")
        wait, url = 0.0, to.take()
        try:
            reply = _once(url, body, key, patience.timeout_s)
            to.answered(url)
            return reply
        except urllib.error.HTTPError as error:
            why = f"status {error.code}: {_said(error, key)}"
            if error.code not in _AGAIN:
                to.answered(url)
                raise Refused(f"{url} refuses: {why}", fix=_fix(error.code, why), status=error.code) from error
            wait = _asked_to_wait(error)
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
        pause = to.failed(url, patience.pause_s * (0.5 + jitter.random()), wait)
        if attempt < attempts - 1:
            halt.wait(pause)
    raise Unanswered(why)


def get(url: str, key: str, timeout_s: float) -> dict[str, Any]:
    """The JSON object at an address, asked for once.

    Raises:
        Refused: the server answers with an error.
        Unanswered: the answer is not a JSON object.
        InputError: nothing answers at all.
    """
    try:
        return _once(url, None, key, timeout_s)
    except urllib.error.HTTPError as error:
        why = f"status {error.code}: {_said(error, key)}"
        raise Refused(f"{url} refuses: {why}", fix=_fix(error.code, why), status=error.code) from error
    except (http.client.HTTPException, ValueError) as error:
        raise Unanswered(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            fix = "http:// if the server does not use TLS; else install a certificate that this machine trusts"
            raise InputError(f"no secure connection to {url}: {reason}", fix=fix) from error
        said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        fix = "start the server, or correct the address and the port"
        raise InputError(f"nothing answers at {url} ({said})", fix=fix) from error


def _once(url: str, body: Mapping[str, Any] | None, key: str, timeout: float) -> dict[str, Any]:
    headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method="GET" if body is None else "POST")
    with _OPENER.open(request, timeout=timeout) as reply:
        document = json.loads(reply.read(_MOST_BYTES))
    if not isinstance(document, dict):
        raise ValueError("the reply is not a JSON object")
    return document


def _said(error: urllib.error.HTTPError, key: str) -> str:
    """The server's own error message, without the key, which some servers repeat."""
    try:
        words = error.read(2000).decode("utf-8", "replace").strip() or str(error.reason)
    except (OSError, http.client.HTTPException):
        words = str(error.reason)
    return one_line(words.replace(key, "***") if key else words, 300)


def _asked_to_wait(error: urllib.error.HTTPError) -> float:
    try:
        return float(error.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0


def _fix(status: int, why: str) -> str:
    if status in (401, 403):
        return "give the server's key"
    if 300 <= status < 400:
        return "give the address that it points to"
    if status == 404:
        return "check the address and the model's name"
    if any(word in why.lower() for word in ("context length", "maximum context", "too long", "max_model_len")):
        return "a smaller --max-new-tokens, a server with a longer context, or without this problem"
    return "check the request against the server's limits"
