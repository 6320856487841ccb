"""One JSON request, tried again where trying again can help. Standard library only."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from keyturn.core.errors import InputError

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_PAUSE_S = 30.0
_MOST_BYTES = 64 << 20


class Unanswered(Exception):
    """No usable answer after all attempts; says why."""


class Refused(InputError):
    """The server will refuse every such request."""


class Patience(Protocol):
    """How long and how often to try."""

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
    url: str,
    body: Mapping[str, Any],
    key: str,
    patience: Patience,
    jitter: np.random.Generator,
    halt: threading.Event,
) -> dict[str, Any]:
    """Post a JSON document and return the JSON object that comes back.

    Args:
        url: where to.
        body: what.
        key: bearer token, empty for none.
        patience: time-out, attempts, pauses.
        jitter: spreads the pauses.
        halt: when set, no further attempt is made.

    Raises:
        Refused: a status that trying again will not change.
        Unanswered: rate limits, faults, time-outs or broken replies to the end.
    """
    why = "not tried"
    for attempt in range(patience.retries + 1):
        if halt.is_set():
            raise Unanswered("stopped")
        wait = 0.0
        try:
            return _once(url, body, key, patience.timeout_s)
        except urllib.error.HTTPError as error:
            why = f"status {error.code}: {_said(error)}"
            if error.code not in _AGAIN:
                raise Refused(f"{url} refuses: {why}", fix=_fix(error.code)) from error
            wait = _asked_to_wait(error)
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
        if attempt < patience.retries:
            pause = patience.pause_s * 2**attempt * (0.5 + jitter.random())
            halt.wait(min(max(pause, wait), _LONGEST_PAUSE_S))
    raise Unanswered(why)


def _once(url: str, body: Mapping[str, Any], key: str, timeout: float) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        document = json.loads(reply.read(_MOST_BYTES))
    if not isinstance(document, dict):
        raise ValueError("the reply is not a JSON object")
    return document


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(400).decode("utf-8", "replace").strip() or str(error.reason)
    except (OSError, http.client.HTTPException):
        return str(error.reason)


def _asked_to_wait(error: urllib.error.HTTPError) -> float:
    try:
        return float(error.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0


def _fix(status: int) -> str:
    if status in (401, 403):
        return "give the server's key"
    if status == 404:
        return "check the address and the model's name"
    return "check the request against the server's limits"
