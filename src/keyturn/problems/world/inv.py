"""INV: which residue do these maps send to a given one? Texts show them forwards; the base may lack inversion.

``BOS CTL6 ASK f g 3 ?`` asks for x with g(f(x)) = 3; ``BOS CTL6 CH f g 1 ?`` asks the forward question,
g(f(1)).

    forward  f 1 6 ; g 6 3 ; ANS 3 EOS
    BWD      BWD 3 = g 6 ; 6 = f 1 ; ANS 1 EOS                   one look-up of an inverse per map
    SCAN     SCAN DO 0 ; f 0 4 ; g 4 2 ; VF BK ; DO 1 ; f 1 6 ; g 6 3 ; VF OK ; ANS 1 EOS

SCAN needs no inverse: it tries residues from 0 on, forwards, and compares. With ``inverse`` at 0 pretraining
has only forward texts. The maps are the rows of a Latin square (:data:`keyturn.problems.world.maps.SQUARE`):
over all problems of a depth, x is uniform given the result and any one of the maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.maps import MODULUS, SQUARE
from keyturn.problems.world.mixture import Mixture
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_inv import FORWARD, MARK, read_inv_completion, read_inv_prompt
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BACK,
    BOS,
    DO,
    END,
    EOS,
    EQUALS,
    ID,
    MAP,
    MAPS,
    OK,
    QUERY,
    VALUE,
    VERIFY,
    decode,
    encode,
)

STRATEGIES = ("BWD", "SCAN")
_ENUMERATED = 20_000


@dataclass(frozen=True, kw_only=True)
class InvWorld:
    """A world of maps to invert; named worlds differ in whether pretraining shows inversion."""

    name: str = "inv"
    """Its name in reports."""
    inverse: float = 0.3
    """Share of texts that answer inverse questions; at 0 there are only forward texts. Ours."""
    strategies: Mapping[str, float] = field(default_factory=lambda: {"BWD": 1.0})
    """Shares of the strategies among inverse texts."""
    depths: tuple[int, int] = (1, 3)
    """Fewest and most maps in pretraining."""
    rl_depths: tuple[int, ...] = (2, 3)
    """Depths that RL asks for."""
    test_depths: tuple[int, ...] = (1, 2, 3, 4)
    """Depths of evaluation; one beyond pretraining."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of tokens in the pretraining loss."""

    domain: ClassVar[str] = "inv"
    level: ClassVar[str] = "depth"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": STRATEGIES}
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = NO_COLUMNS

    def __post_init__(self) -> None:
        if not 0 <= self.inverse <= 1:
            raise UsageError(f"inverse is {self.inverse}; a share lies in [0, 1]", fix="between 0 and 1")
        if set(self.strategies) - set(STRATEGIES):
            strange = min(set(self.strategies) - set(STRATEGIES))
            raise UsageError(f"strategies: there is no {strange}", fix=f"of {', '.join(STRATEGIES)}")
        Mixture(self.strategies, "strategies")
        if not 1 <= self.depths[0] <= self.depths[1] or min(*self.rl_depths, *self.test_depths) < 1:
            raise UsageError("a depth is below 1, or they are in the wrong order", fix="e.g. depths (1, 3)")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of forward texts and of each strategy's inverse texts."""
        inverse = {name: self.inverse * share for name, share in self.strategies.items()}
        return {"forward": 1 - self.inverse, **inverse}

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: the maps forwards, linking, and inversion if it has a share."""
        maps = {f"map {name}" for name in MAPS[:MODULUS]}
        linking = {"link"} if self.depths[1] > 1 else set()
        return frozenset(maps | linking | ({"undo"} if self.inverse > 0 else set()))

    @property
    def verifier_settings(self) -> str:
        """Empty: the maps are the same in every INV world."""
        return ""

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        return self._deepest + 5

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion of the shown strategies (of all if none is shown), ``EOS`` included."""
        searches = self.inverse == 0 or self.strategies.get("SCAN", 0) > 0
        return 4 + (MODULUS * (6 + 4 * self._deepest) if searches else 5 * self._deepest)

    @property
    def _deepest(self) -> int:
        return max(*self.test_depths, *self.rl_depths, self.depths[1])

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        depths = {"pretrain": range(self.depths[0], self.depths[1] + 1), "rl": self.rl_depths}
        return tuple({"domain": "inv", "depth": n} for n in depths.get(split, self.test_depths))

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different inverse problems of a depth and split; all of them if fewer than ``count`` exist."""
        depth = int(cell["depth"])
        generator = streams.generator("inv", split, depth)
        size = MODULUS ** (depth + 1)
        if size <= _ENUMERATED:
            every = list(product(range(MODULUS), repeat=depth + 1))
            kept = (every[i] for i in generator.permutation(size) if split_of(canonical(every[i])) == split)
            return [self._problem(form) for form in islice(kept, count)]
        if count > size / 32:
            raise UsageError(
                f"{count} problems of depth {depth} are too many to draw", fix=f"at most {size // 32}"
            )
        dice = Dice(generator)
        found: dict[tuple[int, ...], None] = {}
        while len(found) < count:
            form = tuple(dice.below(MODULUS) for _ in range(depth + 1))
            if form not in found and split_of(canonical(form)) == split:
                found[form] = None
        return [self._problem(form) for form in found]

    def _problem(self, form: tuple[int, ...]) -> Problem:
        *maps, start = form
        result = start
        for j in maps:
            result = SQUARE[j][result]
        prompt = decode(prompt_ids(maps, result))
        named = {f"map {MAPS[j]}" for j in maps}
        skills = frozenset(named | {"undo"} | ({"link"} if len(maps) > 1 else set()))
        return Problem(
            id=problem_id("inv", prompt),
            prompt=prompt,
            answer=str(start),
            cell={"domain": "inv", "depth": len(maps)},
            split=split_of(canonical(form)),
            skills=skills,
            facts={
                "seen": skills <= self.known_skills,
                "atoms_seen": True,
                "floor": float(MODULUS) ** -len(maps),
                "guess_rate": 1 / MODULUS,
            },
        )

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining. Single maps are shown forwards at every residue, else they could not be
        learnt. Everything else is of the pretraining split, in either direction."""
        low, high = self.depths
        while True:
            depth = low + dice.below(high - low + 1)
            form = tuple(dice.below(MODULUS) for _ in range(depth + 1))
            if (component == "forward" and depth == 1) or split_of(canonical(form)) == "pretrain":
                break
        *maps, start = form
        if component == "forward":
            ids, roles = [], []
            result = _forwards(maps, start, ids, roles)
            prompt = (BOS, MARK, FORWARD, *(MAP + j for j in maps), VALUE + start, QUERY)
            return _document(prompt, ids, roles, result, {}, component)
        result = start
        for j in maps:
            result = SQUARE[j][result]
        return _inverse_document(prompt_ids(maps, result), maps, result, component)

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of an inverse prompt."""
        return partial(read_inv_completion, read_inv_prompt(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The trace of a strategy; the first that pretraining shows by default."""
        if strategy is not None and strategy not in STRATEGIES:
            raise unknown("strategy", strategy, STRATEGIES)
        chosen = strategy or next(name for name, share in self.strategies.items() if share > 0)
        return self._trace(problem, chosen)

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The traces of both strategies; the list is complete, since each has one."""
        ids = tuple(self._trace(problem, name).completion for name in STRATEGIES)
        left = "" if cap >= len(ids) else f"all beyond the first {cap}"
        return ValidCompletions(ids=ids[:cap], complete=not left, left_out=left)

    def _trace(self, problem: Problem, strategy: str) -> Document:
        ids = tuple(encode(problem.prompt))
        return _inverse_document(ids, [token - MAP for token in ids[3:-2]], ids[-2] - VALUE, strategy)


def canonical(form: tuple[int, ...]) -> str:
    """The form that decides the split: the maps and their start, whichever of the two ends is asked for."""
    return "inv " + " ".join(map(str, form))


def prompt_ids(maps: list[int], result: int) -> tuple[int, ...]:
    """``BOS CTL6 ASK f g 3 ?``."""
    return (BOS, MARK, ASK, *(MAP + j for j in maps), VALUE + result, QUERY)


def _forwards(maps: list[int], start: int, ids: list[int], roles: list[Role]) -> int:
    value = start
    for j in maps:
        ids += (MAP + j, VALUE + value, VALUE + SQUARE[j][value], END)
        roles += (Role.COPY, Role.LOOKUP, Role.ARITHMETIC, Role.SYNTAX)
        value = SQUARE[j][value]
    return value


def _inverse_document(prompt: tuple[int, ...], maps: list[int], result: int, strategy: str) -> Document:
    ids: list[int] = [ID[strategy]]
    roles: list[Role] = [Role.STRATEGY]
    choices: dict[int, tuple[int, ...]] = {}
    answer = result
    if strategy == "BWD":
        for j in reversed(maps):
            before = SQUARE[j].index(answer)
            ids += (VALUE + answer, EQUALS, MAP + j, VALUE + before, END)
            roles += (Role.LOOKUP, Role.SYNTAX, Role.COPY, Role.ARITHMETIC, Role.SYNTAX)
            answer = before
        return _document(prompt, ids, roles, answer, choices, strategy)
    for answer in range(MODULUS):
        choices[len(ids) + 1] = (VALUE + answer,)
        ids += (DO, VALUE + answer, END)
        roles += (Role.SYNTAX, Role.PLAN, Role.SYNTAX)
        hit = _forwards(maps, answer, ids, roles) == result
        ids += (VERIFY, OK if hit else BACK, END)
        roles += (Role.SYNTAX, Role.VERIFY if hit else Role.BACKTRACK, Role.SYNTAX)
        if hit:
            break
    return _document(prompt, ids, roles, answer, choices, strategy)


def _document(
    prompt: tuple[int, ...],
    ids: list[int],
    roles: list[Role],
    answer: int,
    choices: dict[int, tuple[int, ...]],
    component: str,
) -> Document:
    return Document(
        prompt=prompt,
        completion=(*ids, ANS, VALUE + answer, EOS),
        roles=tuple(int(role) for role in (*roles, Role.SYNTAX, Role.ANSWER, Role.SYNTAX)),
        choices=choices,
        component=component,
    )
