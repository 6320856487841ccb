"""Named random streams: one root seed a run, every stream derived by hashing labels.

``Streams(7).generator("sample", problem_id, 3)`` is the same generator wherever and whenever it is
asked for, and shares nothing with any other name: seeds are hashed, never incremented, so that
neighbouring roots (42 and 43) give unrelated draws.
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
        root: any integer; negative and very large ones are fine, since it is hashed.
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
        """Fill rows with what ``generator(*name).random()`` of their names gives, in a third of the time.

        Args:
            names: one a row.
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
