"""Named random streams: one root seed a run, every stream derived by hashing labels.

``Streams(7).generator("sample", problem_id, 3)`` is the same generator wherever and whenever it is
asked for, and shares nothing with any other name: seeds are hashed, never incremented, so that
neighbouring roots (42 and 43) give unrelated draws.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

_SEPARATOR = "\x1f"


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
