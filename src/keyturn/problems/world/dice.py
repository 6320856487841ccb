"""Fast uniform choices: a buffer over a named numpy generator.

A scalar draw from a numpy generator costs microseconds, which would be most of a problem's cost. Drawn a
thousand at a time, a number costs 50 ns. The sequence depends on the generator alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_BUFFER = 1024


class Dice:
    """Draws from one generator, buffered.

    Args:
        generator: from :class:`keyturn.core.streams.Streams`; nothing else may draw from it.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._next = _uniforms(generator).__next__

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return self._next()

    def below(self, n: int) -> int:
        """An integer in 0..n-1, each equally likely (to 2^-53)."""
        return int(self._next() * n)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each equally likely."""
        return items[int(self._next() * len(items))]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """An index; ``cumulative`` are the cumulative sums of the weights, the last one their total."""
        mark = self._next() * cumulative[-1]
        for index, edge in enumerate(cumulative):
            if mark < edge:
                return index
        return len(cumulative) - 1

    def shuffle(self, items: list[T]) -> None:
        """Shuffle in place (Fisher and Yates)."""
        following = self._next
        for last in range(len(items) - 1, 0, -1):
            other = int(following() * (last + 1))
            items[last], items[other] = items[other], items[last]


def _uniforms(generator: np.random.Generator) -> Iterator[float]:
    while True:
        yield from generator.random(_BUFFER).tolist()
