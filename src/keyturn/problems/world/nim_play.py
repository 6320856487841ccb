"""The game of NIM: positions, their worths, and winning moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keyturn.problems.world.vocabulary import FILLER, ID

NIM = ID["CTL8"]
"""The word that says NIM."""
NONE = FILLER
"""``~``: no move wins."""
LARGEST = 10
MOST_HEAPS = 5
TAKES = (1, 2, 3)
"""K for which sizes K to 10 hold every worth equally often (2 to 10 and 3 to 10 too)."""


class Position(NamedTuple):
    """Heaps in the order of the prompt, and the maximum that may be taken."""

    takes: int
    sizes: tuple[int, ...]

    @property
    def worths(self) -> tuple[int, ...]:
        """Grundy value of each heap."""
        return tuple(size % (self.takes + 1) for size in self.sizes)


class Node(NamedTuple):
    """A move that a search tries."""

    heap: int
    amount: int


def total(worths: Sequence[int]) -> int:
    """Exclusive or of all worths: 0 where whoever must move has lost."""
    out = 0
    for worth in worths:
        out ^= worth
    return out


def winning_moves(position: Position) -> tuple[Node, ...]:
    """All winning moves, at most one per heap, in the order of the heaps."""
    worths, k = position.worths, position.takes
    rest = total(worths)
    if rest == 0:
        return ()
    aims = ((heap, worth, worth ^ rest) for heap, worth in enumerate(worths))
    return tuple(Node(heap, (worth - aim) % (k + 1)) for heap, worth, aim in aims if aim <= k)


def every_move(position: Position) -> tuple[Node, ...]:
    """All moves in the order in which a search tries them."""
    return tuple(Node(heap, n) for heap in range(len(position.sizes)) for n in range(1, position.takes + 1))
