"""NIM: a move takes 1 to K from one of several heaps, and whoever takes the last wins. Which move wins?

``BOS CTL8 - 3 ; f 5 g 4 h 7 ?``: heaps f, g, h and K = 3. A heap is worth its size modulo K + 1, and a position
is lost for whoever must move exactly when the exclusive or of the worths is 0 (Sprague 1935, Grundy 1939). The
answer is a winning move, ``ANS f 2``, or ``ANS ~`` for none; any winning move is right.

``FWD`` is the rule: size, worth and running exclusive or of every heap, then heap, its worth, the worth it
must come to, and how many that takes. ``SCAN`` is a search written as a line: moves in order, each with the
heap's new worth and the running exclusive or after it; ``BK`` if that is not 0 (a dead end), ``OK`` if it is 0,
which ends the search; ``~`` follows only when every move was tried. ``DIR`` answers at once.

Sizes are K to 10 and differ within a position, so that every amount can be taken from every heap, each worth
has the same number of sizes, and neither one heap nor a repeated size says anything about the answer. One
position in K + 1 is lost: what K alone says is that ``~`` and the amounts 1 to K of heap f are as likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import ClassVar

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.mixture import Mixture
from keyturn.problems.world.nim_play import (
    LARGEST,
    MOST_HEAPS,
    TAKES,
    Position,
    every_move,
    total,
    winning_moves,
)
from keyturn.problems.world.nim_text import WRITERS, answer_ids, document_of, every_valid, prompt_ids
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_nim import read_nim_completion, read_nim_prompt
from keyturn.problems.world.vocabulary import (
    decode,
    encode,
)

_ATTEMPTS = 4000


@dataclass(frozen=True, kw_only=True)
class NimWorld:
    """A world of positions; named worlds differ in the strategies and positions of pretraining."""

    name: str = "nim"
    """Its name in reports."""
    heaps: tuple[int, ...] = (2, 3)
    """Numbers of heaps in pretraining."""
    takes: tuple[int, ...] = TAKES
    """Values of K in pretraining; the base lacks every other."""
    strategies: Mapping[str, float] = field(default_factory=lambda: {"FWD": 0.5, "SCAN": 0.4, "DIR": 0.1})
    """Shares of rule, search and answer alone in pretraining; ours. A share of 0 leaves a strategy out."""
    rl_heaps: tuple[int, ...] = (3, 4)
    """Numbers of heaps that RL asks for."""
    test_heaps: tuple[int, ...] = (2, 3, 4, 5)
    """Numbers of heaps of evaluation."""
    test_takes: tuple[int, ...] = TAKES
    """K of RL and evaluation."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of tokens in the pretraining loss."""

    domain: ClassVar[str] = "nim"
    level: ClassVar[str] = "heaps"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": ("FWD", "SCAN", "DIR")}
    columns: ClassVar = NO_COLUMNS

    def __post_init__(self) -> None:
        for label in ("heaps", "rl_heaps", "test_heaps"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(range(2, MOST_HEAPS + 1)):
                raise UsageError(f"{label} is {getattr(self, label)}", fix=f"values from 2 to {MOST_HEAPS}")
        for label in ("takes", "test_takes"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(TAKES):
                raise UsageError(f"{label} is {getattr(self, label)}", fix="some of 1, 2, 3")
        strange = sorted(set(self.strategies) - set(WRITERS))
        if strange:
            raise UsageError(f"NIM has no strategy {strange[0]!r}", fix="choose among FWD, SCAN and DIR")
        Mixture(self.mixture, "strategies")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of the strategies."""
        return dict(self.strategies)

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: the values of K."""
        return frozenset(f"take {k}" for k in self.takes)

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        return 6 + 2 * self._most

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion: a search of a lost position that tries each move once."""
        most, takes = self._most, max(*self.takes, *self.test_takes)
        return 1 + 5 * most + most * takes * (6 + most) + 3

    @property
    def _most(self) -> int:
        return max(*self.heaps, *self.rl_heaps, *self.test_heaps)

    @property
    def verifier_settings(self) -> str:
        """Empty: the prompt says everything."""
        return ""

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        heaps = {"pretrain": self.heaps, "rl": self.rl_heaps}.get(split, self.test_heaps)
        takes = self.takes if split == "pretrain" else self.test_takes
        return tuple({"domain": "nim", "heaps": n, "takes": k} for n in heaps for k in takes)

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; fewer if won or lost positions run out."""
        heaps, takes = int(cell["heaps"]), int(cell["takes"])
        if heaps not in range(2, MOST_HEAPS + 1) or takes not in TAKES:
            raise UsageError(f"there are no {heaps} heaps with K = {takes}", fix=f"2 to {MOST_HEAPS}, 1 to 3")
        dice = Dice(streams.generator("nim", split, heaps, takes))
        found: dict[Position, None] = {}
        while len(found) < count:
            position = _draw(heaps, takes, split=split, dice=dice, taken=found)
            if position is None:
                break
            found[position] = None
        return [problem_of(self, position) for position in found]

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        position = None
        while position is None:
            position = _draw(
                dice.pick(self.heaps), dice.pick(self.takes), split="pretrain", dice=dice, taken={}
            )
        return document_of(position, component)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_nim_completion, read_nim_prompt(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The rule, the search (``SCAN``) or the answer alone; by default the search if pretraining shows only
        it."""
        shown = {name for name, share in self.strategies.items() if share > 0}
        own = "SCAN" if "SCAN" in shown and "FWD" not in shown else "FWD"
        return document_of(read_nim_prompt(encode(problem.prompt)), strategy or own)

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The rule with every winning move, and searches over any moves that end with a winning one."""
        position = read_nim_prompt(encode(problem.prompt))
        found = islice(every_valid(position, self.strategies), cap + 1)
        ids = tuple(document.completion for document in found)
        left = "strategies without share"
        if len(ids) > cap:
            left += f", and all beyond the first {cap}"
        whole = len(ids) <= cap and all(self.strategies.get(name, 0) > 0 for name in ("FWD", "SCAN"))
        return ValidCompletions(ids=ids[:cap], complete=whole, left_out="" if whole else left)


def canonical(position: Position) -> str:
    """The form that decides the split: the order of the heaps does not matter."""
    return f"nim {position.takes} " + " ".join(map(str, sorted(position.sizes)))


def problem_of(world: NimWorld, position: Position) -> Problem:
    """The problem that asks for a winning move."""
    prompt = decode(prompt_ids(position))
    skills = frozenset({f"take {position.takes}"})
    moves = winning_moves(position)
    return Problem(
        id=problem_id("nim", prompt),
        prompt=prompt,
        answer=decode(answer_ids(moves[0] if moves else None)),
        cell={"domain": "nim", "heaps": len(position.sizes), "takes": position.takes},
        split=split_of(canonical(position)),
        skills=skills,
        facts={
            "seen": skills <= world.known_skills and len(position.sizes) in world.heaps,
            "atoms_seen": skills <= world.known_skills,
            "floor": float(position.takes + 1) ** -len(position.sizes),
            "guess_rate": 1 / (position.takes + 1),
            "lost": not moves,
            "moves": len(every_move(position)),
        },
    )


def _draw(
    heaps: int, takes: int, *, split: Split, dice: Dice, taken: Mapping[Position, None]
) -> Position | None:
    """A new position of a split; None if many draws found none of the required kind.

    One in K + 1 is lost, so ``~`` and each amount from the first heap are equally often right.
    """
    lost = dice.below(takes + 1) == 0
    for _ in range(_ATTEMPTS):
        sizes = list(range(takes, LARGEST + 1))
        dice.shuffle(sizes)
        position = Position(takes, tuple(sizes[:heaps]))
        fits = (total(position.worths) == 0) == lost and position not in taken
        if fits and split_of(canonical(position)) == split:
            return position
    return None
