"""Named random streams: one root seed per run, and every stream is derived by hashing labels.

``Streams(7).generator("sample", problem_id, 3)`` is the same generator at every call and shares nothing with
any other name. Seeds are hashed, never incremented, so neighbouring roots (42 and 43) give unrelated draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEPARATOR = "\x1f"
_WORD = 2**64 - 1


@dataclass(frozen=True)
class Streams:
    """A root seed and a path of labels under it.

    Args:
        root: any integer, also negative or very large, since it is hashed.
        path: labels that all streams of this object share.
    """

    root: int
    path: tuple[str, ...] = ()

    def child(self, *labels: str | int) -> Streams:
        """The streams below ``labels``; ``s.child("a").generator("b")`` is ``s.generator("a", "b")``."""
        return Streams(self.root, (*self.path, *map(str, labels)))

    def key(self, *labels: str | int) -> int:
        """The 128-bit key of a name, as an integer."""
        text = _SEPARATOR.join((str(self.root), *self.path, *map(str, labels)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")

    def seed(self, *labels: str | int) -> int:
        """A 63-bit seed for libraries that take an integer."""
        return self.key(*labels) >> 65

    def generator(self, *labels: str | int) -> np.random.Generator:
        """The numpy generator of a name (counter-based Philox)."""
        return np.random.Generator(np.random.Philox(key=self.key(*labels)))

    def uniforms(self, names: Iterable[tuple[str | int, ...]], out: NDArray[np.float64]) -> None:
        """Fill each row with numbers of ``generator(*name).random()``, in a third of the time.

        Args:
            names: one name per row.
            out: ``[row, number]``.
        """
        bits = np.random.Philox(key=0)
        generator = np.random.Generator(bits)
        state: dict[str, Any] = dict(
            bits.state
        )  # before its first number; only the key differs from row to row
        for row, name in zip(out, names, strict=True):
            key = self.key(*name)
            words = np.array([key & _WORD, key >> 64], dtype=np.uint64)
            bits.state = {**state, "state": {**state["state"], "key": words}}  # type: ignore[assignment]
            generator.random(out=row)
