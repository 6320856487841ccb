"""Monte Carlo tree search of NIM: a prior over moves leads, the rules say what follows, and games played to
their end say what it is worth.

Every simulation goes down the tree by

    argmax over moves  Q(move) + c P(move) sqrt(1 + N) / (1 + n(move))          (PUCT)

until it stands on a new position, plays on from there to the end of the game, and carries the result back with
alternating sign. Results are +1 and -1, as the rules give them; no position is looked up anywhere.

A search is a generator that yields the positions whose prior it wants, so that many searches can ask for theirs
together. It asks for no position twice.

Source: PUCT: Silver et al. 2017; in planning of dialogues: He et al. 2024 (2406.05374), c = 1, 10 to 20
simulations.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.elicitation.nim_rules import after, legal_moves
from keyturn.problems.world.nim_play import Node, Position

Prior: TypeAlias = NDArray[np.float64]
"""Probabilities of the legal moves of a position, in their order, summing to 1."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found.

    Args:
        move: tried most often; of equals the likelier, then the earlier one.
        value: mean result behind it for who moves, from -1 to 1.
        nodes: positions in the tree, the asked one included.
        plies: moves of the games that were played from the tree to their end.
        asked: positions whose prior was wanted.
    """

    move: Node
    value: float
    nodes: int
    plies: int
    asked: int


Searching: TypeAlias = Generator[Position, Prior, Found]


@dataclass(kw_only=True, eq=False)
class _Place:
    """A position in the tree, with visits and sums of results of its moves for who moves there."""

    position: Position
    moves: tuple[Node, ...]
    prior: Prior
    visits: NDArray[np.float64] = field(init=False)
    sums: NDArray[np.float64] = field(init=False)
    children: dict[int, _Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.visits, self.sums = np.zeros(len(self.moves)), np.zeros(len(self.moves))

    def chosen(self, exploration: float) -> int:
        """The move that the next simulation takes."""
        mean = self.sums / np.maximum(self.visits, 1.0)
        bonus = exploration * self.prior * np.sqrt(1.0 + self.visits.sum()) / (1.0 + self.visits)
        return int(np.argmax(mean + bonus))


class TreeSearch:
    """One search from one position.

    Args:
        root: position that is searched; it has a move.
        exploration: c of PUCT.
        dice: of the games that are played to their end.
        asks: whether the prior is asked for; else every legal move is equally likely.
        plays: whether the prior also chooses the moves of those games; else chance does.
    """

    def __init__(
        self, root: Position, *, exploration: float, dice: np.random.Generator, asks: bool, plays: bool
    ) -> None:
        self.root, self.exploration, self.dice = root, exploration, dice
        self.asks, self.plays = asks, plays
        self.priors: dict[Position, Prior] = {}
        self.nodes = self.plies = 0

    def run(self, simulations: int) -> Searching:
        """Search with a number of simulations, 1 or more."""
        top = yield from self._opened(self.root)
        for _ in range(simulations):
            yield from self._simulated(top)
        best = max(range(len(top.moves)), key=lambda at: (top.visits[at], top.prior[at], -at))
        return Found(
            move=top.moves[best],
            value=float(top.sums[best] / top.visits[best]),
            nodes=self.nodes,
            plies=self.plies,
            asked=len(self.priors) if self.asks else 0,
        )

    def _simulated(self, top: _Place) -> Generator[Position, Prior, None]:
        path: list[tuple[_Place, int]] = []
        place, value = top, -1.0  # without a move, whoever must move has lost
        while place.moves:
            at = place.chosen(self.exploration)
            path.append((place, at))
            if at in place.children:
                place = place.children[at]
                continue
            place.children[at] = yield from self._opened(after(place.position, place.moves[at]))
            value = yield from self._played(place.children[at].position)
            break
        for place, at in reversed(path):
            value = -value
            place.visits[at] += 1
            place.sums[at] += value

    def _opened(self, position: Position) -> Generator[Position, Prior, _Place]:
        self.nodes += 1
        moves = legal_moves(position)
        prior = yield from self._prior(position, moves, wanted=self.asks)
        return _Place(position=position, moves=moves, prior=prior)

    def _prior(
        self, position: Position, moves: Sequence[Node], *, wanted: bool
    ) -> Generator[Position, Prior, Prior]:
        if not wanted or not moves:
            return np.full(len(moves), 1.0 / max(len(moves), 1))
        if position not in self.priors:
            self.priors[position] = yield position
        return self.priors[position]

    def _played(self, position: Position) -> Generator[Position, Prior, float]:
        """Play to the end: 1 where who moves at the position wins, -1 where the other one does."""
        sign = 1.0
        while moves := legal_moves(position):
            prior = yield from self._prior(position, moves, wanted=self.asks and self.plays)
            at = int(np.searchsorted(np.cumsum(prior), self.dice.random(), side="right"))
            position = after(position, moves[min(at, len(moves) - 1)])
            sign = -sign
            self.plies += 1
        return -sign
