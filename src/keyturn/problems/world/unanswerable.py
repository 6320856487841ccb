"""UNANSWERABLE: some questions have no answer, and then saying so (``CTL9``) is right.

``BOS C1 plum = 2 ; fig = plum + 3 ; ... ; ASK fig ?`` gives definitions of two chains. One of them lacks a
definition or has one twice with different constants. The end of the intact chain has a value, the end of the
other has none. The trace goes down from the asked name and states each definition, then computes upwards:
``NEED fig = plum + 3 ; NEED plum = 2 ; EX plum 2 ; EX fig 2 + 3 0 ; ANS 0``. Or it stops at the defect:
``NEED fig = plum + 3 ; NEED plum ~ ; ANS CTL9`` (missing), ``NEED plum = 2 = 4 ; ANS CTL9`` (contradictory).

Every problem has a twin with the same statements and the other question (``facts["twin"]``), so neither the
words nor the length reveal which of the two can be answered. Only reading decides whether the asked name's
chain reaches the defect. The setting is the share of unanswerable questions in pretraining; at 0 the base never
saw such a question, nor an abstention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_COLUMNS, NO_MANNERS, Reader, ValidCompletions
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.unanswerable_puzzle import DEEPEST, Defect, Puzzle, draw_puzzle, tell, values
from keyturn.problems.world.verify_unanswerable import (
    ABSTAIN,
    CONTEXT,
    UnanswerableTask,
    read_unanswerable_completion,
    read_unanswerable_prompt,
)
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BOS,
    END,
    EOS,
    EQUALS,
    EX,
    FILLER,
    NEED,
    QUERY,
    VALUE,
    WORDS,
    decode,
    encode,
)

_MODULI = range(3, 12)


@dataclass(frozen=True, kw_only=True)
class UnanswerableWorld:
    """A world of puzzles; named worlds differ in the share of unanswerable questions in pretraining."""

    name: str = "unanswerable"
    """Its name in reports."""
    unanswerable: float = 0.5
    """Share of questions without an answer in pretraining; at 0 the base never abstains. Ours."""
    defects: tuple[Defect, ...] = ("missing", "contradictory")
    """Defects in pretraining, equally often."""
    depths: tuple[int, ...] = (2, 3, 4)
    """Definitions in a chain, in pretraining."""
    rl_depths: tuple[int, ...] = (3, 4)
    """Depths that RL asks for."""
    test_depths: tuple[int, ...] = (2, 3, 4, 5)
    """Depths of evaluation."""
    test_defects: tuple[Defect, ...] = ("missing", "contradictory")
    """Defects of RL and evaluation."""
    modulus: int = 5
    """Modulus of the arithmetic; as in GRAPH."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of tokens in the pretraining loss."""

    domain: ClassVar[str] = "unanswerable"
    level: ClassVar[str] = "depth"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar = NO_MANNERS
    columns: ClassVar = NO_COLUMNS

    def __post_init__(self) -> None:
        if not 0 <= self.unanswerable <= 1:
            raise UsageError(f"unanswerable is {self.unanswerable}; a share lies in [0, 1]", fix="0 to 1")
        for label in ("depths", "rl_depths", "test_depths"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(range(2, DEEPEST + 1)):
                raise UsageError(f"{label} is {getattr(self, label)}", fix=f"values from 2 to {DEEPEST}")
        for label in ("defects", "test_defects"):
            if not getattr(self, label) or not set(getattr(self, label)) <= set(get_args(Defect)):
                raise UsageError(f"{label} is {getattr(self, label)}", fix="missing, contradictory")
        if self.modulus not in _MODULI:
            raise UsageError(f"the modulus is {self.modulus}", fix="3 to 11")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of questions with and without an answer."""
        return {"answerable": 1 - self.unanswerable, "unanswerable": self.unanswerable}

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: computing, and abstaining at each shown defect."""
        found = self.defects if self.unanswerable > 0 else ()
        return frozenset({"compute", *(f"abstain: {defect}" for defect in found)})

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt: six tokens per definition, four per constant, one definition twice."""
        return 2 + 12 * self._deepest + 2 + 3

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion."""
        return 14 * self._deepest + 3

    @property
    def verifier_settings(self) -> str:
        """The modulus, which the prompt does not say."""
        return f" mod {self.modulus}"

    @property
    def _deepest(self) -> int:
        return max(*self.depths, *self.rl_depths, *self.test_depths)

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named; twins differ in ``asked``."""
        depths = {"pretrain": self.depths, "rl": self.rl_depths}.get(split, self.test_depths)
        defects = self.defects if split == "pretrain" else self.test_defects
        return tuple(
            {"domain": "unanswerable", "depth": depth, "defect": defect, "asked": asked}
            for depth in depths
            for defect in defects
            for asked in ("whole", "broken")
        )

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; the n-th of ``asked`` broken and whole are twins."""
        depth, named, asked = int(cell["depth"]), str(cell["defect"]), str(cell["asked"])
        defect: Defect | None = next((one for one in get_args(Defect) if one == named), None)
        if defect is None:
            raise unknown("defect", named, get_args(Defect))
        if asked not in ("whole", "broken"):
            raise unknown("question", asked, ("whole", "broken"))
        if not 2 <= depth <= DEEPEST:
            raise UsageError(f"there is no depth {depth}", fix=f"2 to {DEEPEST}")
        dice = Dice(streams.generator("unanswerable", split, depth, defect))
        found: dict[str, Problem] = {}
        while len(found) < count:
            puzzle = draw_puzzle(depth, defect, self.modulus, dice)
            if split_of(canonical(puzzle)) == split:
                problem = _problem(self, puzzle, defect, asked, split, dice)
                found[problem.id] = problem
        return list(found.values())

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        while True:
            puzzle = draw_puzzle(dice.pick(self.depths), dice.pick(self.defects), self.modulus, dice)
            if split_of(canonical(puzzle)) == "pretrain":
                break
        statements, (broken, whole) = tell(puzzle, dice)
        return _document(
            self, _prompt(statements, broken if component == "unanswerable" else whole), component=component
        )

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_unanswerable_completion, read_unanswerable_prompt(prompt, self.modulus))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The one valid trace."""
        return _document(self, tuple(encode(problem.prompt)), component="valid")

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The one valid trace, so the list is complete."""
        found = _document(self, tuple(encode(problem.prompt)), component="valid")
        return ValidCompletions(ids=(found.completion,), complete=True)


def canonical(puzzle: Puzzle) -> str:
    """The form that decides the split: without names, order of statements and the question."""
    chains = (
        " ".join(f"{link.sign}.{'~' if link.missing else link.constant}.{link.other}" for link in chain)
        for chain in puzzle.chains
    )
    return "unanswerable " + " | ".join(chains)


def write_trace(task: UnanswerableTask) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The one completion that is verified, ``EOS`` included, and the roles of its tokens."""
    ids: list[int] = []
    roles: list[int] = []
    for name in task.path:
        ids += (NEED, name)
        roles += (Role.SYNTAX, Role.GOAL)
        said = task.said.get(name, ())
        if not said:
            ids += (FILLER, END)
            roles += (Role.VERIFY, Role.SYNTAX)
        for written in said:
            ids += (EQUALS, *written)
            roles += (Role.VERIFY, *[Role.COPY] * len(written))
        if said:
            ids.append(END)
            roles.append(Role.VERIFY if len(said) == 1 else Role.SYNTAX)
    before = -1
    for name, value in zip(reversed(task.path), task.values, strict=False):
        sign = task.said[name][0][1:]
        ids += (EX, name, *((VALUE + before, *sign) if sign else ()), VALUE + value, END)
        roles += (Role.SYNTAX, Role.GOAL, *((Role.LOOKUP, *[Role.COPY] * len(sign)) if sign else ()))
        roles += (Role.ARITHMETIC if sign else Role.LOOKUP, Role.SYNTAX)
        before = value
    ids += (ANS, VALUE + before if task.values else ABSTAIN, EOS)
    roles += (Role.SYNTAX, Role.ANSWER, Role.SYNTAX)
    return tuple(ids), tuple(map(int, roles))


def _document(world: UnanswerableWorld, prompt: tuple[int, ...], *, component: str) -> Document:
    completion, roles = write_trace(read_unanswerable_prompt(prompt, world.modulus))
    choices = {at: (completion[at],) for at, role in enumerate(roles) if role == Role.GOAL}
    return Document(prompt=prompt, completion=completion, roles=roles, choices=choices, component=component)


def _prompt(statements: tuple[int, ...], asked: int) -> tuple[int, ...]:
    return (BOS, CONTEXT, *statements, ASK, asked, QUERY)


def _problem(
    world: UnanswerableWorld, puzzle: Puzzle, defect: Defect, asked: str, split: Split, dice: Dice
) -> Problem:
    statements, ends = tell(puzzle, dice)
    ids = {"broken": _prompt(statements, ends[0]), "whole": _prompt(statements, ends[1])}
    prompts = {name: decode(words) for name, words in ids.items()}
    whole = asked == "whole"
    depth = len(puzzle.chains[0])
    lines = len(read_unanswerable_prompt(ids[asked], world.modulus).path)
    skills = frozenset({"compute"} if whole else {f"abstain: {defect}"})
    return Problem(
        id=problem_id("unanswerable", prompts[asked]),
        prompt=prompts[asked],
        answer=str(values(puzzle.chains[1], world.modulus)[-1]) if whole else WORDS[ABSTAIN],
        cell={"domain": "unanswerable", "depth": depth, "defect": defect, "asked": asked},
        split=split,
        skills=skills,
        facts={
            "seen": skills <= world.known_skills,
            "atoms_seen": "compute" in world.known_skills,
            "floor": float(world.modulus) ** -depth if whole else 2.0**-lines,
            "guess_rate": 1 / world.modulus if whole else 0.5,
            "answerable": whole,
            "twin": problem_id("unanswerable", prompts["broken" if whole else "whole"]),
        },
    )
