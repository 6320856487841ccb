"""Several addresses of one model: each request goes to the least busy address that answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

LONGEST_REST_S = 30.0
"""An address that does not answer is tried again after at most this long."""


class Addresses:
    """The addresses that requests may go to; safe to use from any thread.

    An address that fails rests, longer each time, while the others take its requests. It is tried again when
    its rest is over, or when all addresses rest.

    Args:
        urls: the addresses, at least one.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._busy = dict.fromkeys(urls, 0)
        self._failed = dict.fromkeys(urls, 0)
        self._rests_until = dict.fromkeys(urls, 0.0)

    def __len__(self) -> int:
        return len(self._busy)

    def take(self) -> str:
        """The address of the next request; :meth:`answered` or :meth:`failed` gives it back."""
        with self._lock:
            now = time.monotonic()
            url = min(self._busy, key=lambda one: (max(self._rests_until[one] - now, 0.0), self._busy[one]))
            self._busy[url] += 1
            return url

    def answered(self, url: str) -> None:
        """A request came back."""
        with self._lock:
            self._busy[url] -= 1
            self._failed[url], self._rests_until[url] = 0, 0.0

    def failed(self, url: str, pause_s: float, least_s: float = 0.0) -> float:
        """A request did not come back in a usable form.

        Args:
            url: the address of the request.
            pause_s: first pause; doubled with every failure in a row.
            least_s: the pause that the server asked for.

        Returns:
            seconds until some address is ready; 0 where another address is ready now.
        """
        with self._lock:
            now = time.monotonic()
            self._busy[url] -= 1
            rest = least_s
            # Requests that were under way together fail together: that is one failure, not many.
            if now >= self._rests_until[url]:
                rest = max(pause_s * 2 ** self._failed[url], least_s)
                self._failed[url] = min(self._failed[url] + 1, 16)
            until = now + min(rest, LONGEST_REST_S)
            self._rests_until[url] = max(self._rests_until[url], until)
            return max(min(self._rests_until.values()) - now, 0.0)
