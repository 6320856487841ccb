"""GRAPH: definitions in shuffled order, one variable asked for; a solution plans what is needed and computes
it.

``BOS C1 fig = 2 ; plum = fig + 3 ; lime = plum * fig ; ASK lime``. There are exactly n needed operations. Some
distractors build on needed variables (so that connection does not reveal distractors) and others do not. See
:mod:`keyturn.problems.world.dag` for the arithmetic, ``traces`` for strategies, ``formats`` for surfaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError, unknown
from keyturn.core.problem import Problem, Split
from keyturn.core.streams import Streams
from keyturn.problems.world import dag as dags
from keyturn.problems.world.contract import NO_COLUMNS, Reader, ValidCompletions
from keyturn.problems.world.dag import CONSTANT, Dag, Shape
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.formats import CONSTANT_TOKENS, OPERATION_TOKENS
from keyturn.problems.world.graph_task import GraphTask, read_graph_prompt
from keyturn.problems.world.graph_told import told_of
from keyturn.problems.world.graph_valid import SHOWN, list_valid
from keyturn.problems.world.mixture import Mixture
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.traces import Manner, Told, write_trace
from keyturn.problems.world.verify_graph import read_graph_completion
from keyturn.problems.world.vocabulary import (
    ASK,
    BOS,
    CONTEXTS,
    END,
    EQUALS,
    FORMATS,
    ID,
    NOUN,
    NOUNS_EACH,
    OPERATIONS,
    PLUS,
    STRATEGIES,
    VALUE,
    decode,
    encode,
)

_PRIMES = (2, 3, 5, 7, 11)
_TRIES = 2000
"""Number of draws in a row without a new problem after which a cell counts as exhausted."""
_BY_HAND = 2
"""Number of operations up to which a split has so few forms that answers are drawn first to balance them."""
_CELL_KEYS = ("domain", "operations", "context", "hanging", "disconnected")
_WORDLESS = frozenset({"DIR", "FILL"})


@dataclass(frozen=True, kw_only=True)
class GraphWorld:
    """A world of arithmetic graphs. Mixtures are shares of documents; each must sum to one."""

    name: str = "graph"
    """Its name in reports."""
    modulus: int = 5
    """A prime up to 11: 5 on a CPU, 7 if there is more time (docs/world.md)."""
    operations: tuple[int, int] = (1, 3)
    """Fewest and most needed operations in pretraining."""
    rl_operations: tuple[int, ...] = (2, 3)
    """Needed operations of the problems that RL asks; the edge of the demo base."""
    test_operations: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Needed operations of evaluation; up to two beyond pretraining."""
    leaves: int = 2
    """Needed constants, at most; other operands are literals. Pilot's prompts had one or two."""
    distractors: int = 2
    """Definitions that are not needed, at most; uniform from 0."""
    hanging: float = 0.7
    """Probability that a distractor builds on a needed variable. Ours."""
    reuse: float = 0.3
    """Probability that a free operand names a variable already used. Ours."""
    contexts: Mapping[str, float] = field(default_factory=lambda: {"C1": 0.95, "C2": 0.05})
    """Shares of the noun sets."""
    formats: Mapping[str, float] = field(default_factory=lambda: {"F1": 0.7, "F2": 0.3})
    """Shares of the surfaces, independent of strategy and context. Ours."""
    strategies: Mapping[str, float] = field(
        default_factory=lambda: {"FWD": 0.65, "SCAN": 0.25, "DIR": 0.08, "BWD": 0.02}
    )
    """Shares of the strategies; as in run F of the pilot."""
    order: Literal["canonical", "free"] = "canonical"
    """Order of steps: the first listed of the valid choices (entropy floor 0), or any of them."""
    noise: Mapping[str, float] = field(default_factory=dict)
    """Format -> probability that an operation's result in the text is wrong; none by default."""
    slips: float = 0.15
    """Probability that an operation in CHK is wrong at first. Ours."""
    retry: float = 0.2
    """Probability that RET opens a wrong variable before a step. Ours."""
    wrong: float = 0.5
    """Probability that WRNG gets an operation wrong. Ours."""
    loss: LossWeights = field(default_factory=lambda: LossWeights(copy=4.0))
    """Weights of tokens in the pretraining loss. Copying limits learning here (about seven copies per trace),
    hence more than run F's 1.5."""

    domain: ClassVar[str] = "graph"
    level: ClassVar[str] = "operations"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = {"strategy": STRATEGIES, "format": FORMATS}
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = NO_COLUMNS

    def __post_init__(self) -> None:
        if self.modulus not in _PRIMES:
            raise UsageError(f"modulus {self.modulus} is not a prime up to 11", fix="5, 7 or 11")
        if self.order not in ("canonical", "free"):
            raise UsageError(f"order is {self.order!r}", fix="canonical or free")
        known = {"contexts": CONTEXTS, "formats": FORMATS, "strategies": STRATEGIES}
        for label, names in known.items():
            shares: Mapping[str, float] = getattr(self, label)
            strange = set(shares) - set(names)
            if strange:
                raise UsageError(f"{label}: there is no {min(strange)}", fix=f"of {', '.join(names)}")
            Mixture(shares, label)
        if set(self.noise) - set(FORMATS):
            raise UsageError(f"noise: no format {min(set(self.noise) - set(FORMATS))}", fix="F1, F2, F3")
        rates = (self.hanging, self.reuse, self.slips, self.retry, self.wrong, *self.noise.values())
        if not all(0 <= rate <= 1 for rate in rates):
            raise UsageError("a probability lies outside [0, 1]", fix="hanging, reuse, noise... in [0, 1]")
        if (
            not 1 <= self.operations[0] <= self.operations[1]
            or min(*self.rl_operations, *self.test_operations) < 1
        ):
            raise UsageError("operations must be at least one, fewest before most", fix="e.g. (1, 3)")
        if self.leaves < 1 or self._most_names > NOUNS_EACH:
            what = f"{self._most_names} variables are possible, but a context has {NOUNS_EACH} names"
            raise UsageError(what, fix="fewer operations, leaves (at least 1) or distractors")

    @property
    def _deepest(self) -> int:
        return max(*self.rl_operations, *self.test_operations, self.operations[1])

    @property
    def _most_names(self) -> int:
        return self._deepest + self.leaves + self.distractors

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of components: strategy, format (unless it has none) and context."""
        shares: dict[str, float] = {}
        parts = product(self.strategies.items(), self.formats.items(), self.contexts.items())
        for (strategy, s), (fmt, f), (context, c) in parts:
            name = f"{strategy} {context}" if strategy in _WORDLESS else f"{strategy} {fmt} {context}"
            shares[name] = shares.get(name, 0.0) + s * f * c
        return shares

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: operations, contexts, numbers of needed operations."""
        low, high = self.operations
        contexts = {f"context {name}" for name, share in self.contexts.items() if share > 0}
        counts = {f"plan {n}" for n in range(low, high + 1)}
        return frozenset({f"operation {op}" for op in OPERATIONS} | contexts | counts)

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        return 4 + 6 * self._deepest + 4 * self.leaves + 6 * self.distractors

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion over all cells, ``EOS`` included."""
        return self.new_tokens(self._deepest)

    def new_tokens(self, operations: int) -> int:
        """Longest completion of such a problem in the corpus' strategies and formats, ``EOS`` included."""
        formats = [fmt for fmt, share in self.formats.items() if share > 0]
        strategies = {name for name, share in self.strategies.items() if share > 0}
        step = max(OPERATION_TOKENS[fmt] for fmt in formats)
        leaf = max(CONSTANT_TOKENS[fmt] for fmt in formats)
        needed = operations * step + self.leaves * leaf
        more = [self.distractors * step if "SCAN" in strategies else 0]
        more.append(operations + self.leaves + 2 if "BWD" in strategies else 0)
        more.append(operations * (step + 10) if "CHK" in strategies else 0)
        more.append((operations + self.leaves) * 5 if "RET" in strategies else 0)
        return 5 + needed + max(more)

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        low, high = self.operations
        named = {"pretrain": range(low, high + 1), "rl": self.rl_operations}
        return tuple({"domain": "graph", "operations": n} for n in named.get(split, self.test_operations))

    @property
    def verifier_settings(self) -> str:
        """Modulus and order, which the prompt does not say."""
        return f" mod {self.modulus} {self.order}"

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split; all answers are equally frequent (to within one).

        A cell names ``operations`` and may fix ``context``, ``hanging`` and ``disconnected``.
        """
        dice = Dice(streams.generator("graph", split, *(f"{k}={v}" for k, v in sorted(cell.items()))))
        contexts = Mixture(self.contexts, "contexts")
        fixed = {key: cell[key] for key in _CELL_KEYS if key in cell}
        answers = list(range(self.modulus))
        dice.shuffle(answers)
        open_places = {str(a): (count - i + self.modulus - 1) // self.modulus for i, a in enumerate(answers)}
        found: dict[str, Problem] = {}
        missed = 0
        while len(found) < count and missed < _TRIES:
            context = str(cell.get("context") or contexts.draw(dice))
            told = _draw(self, split, cell, None, context, dice)
            if told is None:
                break
            problem = _problem(self, told, context, split, fixed)
            if open_places[problem.answer] > 0 and problem.id not in found:
                found[problem.id] = problem
                open_places[problem.answer] -= 1
                missed = 0
            else:
                missed += 1
        # The last problems drawn have the answers that were still missing; shuffling balances every part.
        chosen = list(found.values())
        dice.shuffle(chosen)
        return chosen

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining; its problem is of the pretraining split."""
        strategy, *rest = component.split()
        fmt, context = rest if len(rest) == 2 else (_first(self.formats), rest[0])
        low, high = self.operations
        cell = {"operations": low + dice.below(high - low + 1)}
        answer = dice.below(self.modulus) if cell["operations"] <= _BY_HAND else None
        told = _draw(self, "pretrain", cell, answer, context, dice)
        if told is None:
            what = f"world {self.name}: pretraining holds no problem of {cell['operations']} operations"
            raise UsageError(what, fix="another modulus or more leaves")
        trace = write_trace(told, manner(self, strategy, fmt), dice)
        return Document(
            prompt=tuple(prompt_ids(told, context)),
            completion=tuple(trace.ids),
            roles=tuple(trace.roles),
            choices=trace.choices,
            component=component,
        )

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_graph_completion, self._task(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """The trace of a strategy in a format; ``DIR`` and ``FILL`` have none."""
        strategy, format = strategy or "FWD", format or "F1"
        if strategy not in STRATEGIES:
            raise unknown("strategy", strategy, STRATEGIES)
        if format not in FORMATS:
            raise unknown("format", format, FORMATS)
        ids = encode(problem.prompt)
        dice = Dice(streams.generator("demonstrate", problem.id, strategy, format))
        trace = write_trace(told_of(self._task(ids)), manner(self, strategy, format), dice)
        return Document(
            prompt=tuple(ids),
            completion=tuple(trace.ids),
            roles=tuple(trace.roles),
            choices=trace.choices,
            component=f"{strategy} {format}",
        )

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """See :func:`keyturn.problems.world.graph_valid.list_valid`."""
        strategies = [name for name in SHOWN if self.strategies.get(name, 0) > 0]
        formats = [name for name, share in self.formats.items() if share > 0]
        return list_valid(self._task(encode(problem.prompt)), strategies, formats, cap)

    def _task(self, prompt: list[int]) -> GraphTask:
        return read_graph_prompt(prompt, self.modulus, free=self.order == "free")


def manner(world: GraphWorld, strategy: str, fmt: str) -> Manner:
    """The world's settings for writing a strategy in a format."""
    noise = world.slips if strategy == "CHK" else world.noise.get(fmt, 0.0)
    return Manner(strategy, fmt, world.order == "free", noise, world.retry, world.wrong)


def prompt_ids(told: Told, context: str) -> list[int]:
    """``BOS C1 fig = 2 ; plum = fig + 3 ; ... ASK lime``."""
    ids = [BOS, ID[context]]
    names, definitions = told.names, told.dag.definitions
    for i in told.listed:
        operation, a, b = definitions[i]
        left = names[a] if a >= 0 else VALUE - 1 - a
        if operation == CONSTANT:
            ids += (names[i], EQUALS, left, END)
        else:
            ids += (names[i], EQUALS, left, PLUS + operation, names[b] if b >= 0 else VALUE - 1 - b, END)
    ids += (ASK, names[told.dag.target])
    return ids


def _first(shares: Mapping[str, float]) -> str:
    return next(name for name, share in shares.items() if share > 0)


def _draw(
    world: GraphWorld, split: Split, cell: Mapping[str, str | int], answer: int | None, context: str, dice: Dice
) -> Told | None:
    """A problem of a split in a context; None if the split seems to have none with this answer."""
    hanging, disconnected = _distractors(world, cell, dice)
    shape = Shape(int(cell["operations"]), world.leaves, hanging, disconnected, world.reuse, world.modulus)
    dag = dags.draw(shape, dice, lambda form: split_of(f"graph {world.modulus} {form}") == split, answer)
    if dag is None:
        return None
    size = len(dag.definitions)
    names = list(
        range(NOUN + NOUNS_EACH * CONTEXTS.index(context), NOUN + NOUNS_EACH * (CONTEXTS.index(context) + 1))
    )
    dice.shuffle(names)
    listed = list(range(size))
    dice.shuffle(listed)
    return Told(dag, names[:size], listed, world.modulus)


def _distractors(world: GraphWorld, cell: Mapping[str, str | int], dice: Dice) -> tuple[int, int]:
    """Numbers of distractors that build on needed variables and of others."""
    if "hanging" in cell or "disconnected" in cell:
        return int(cell.get("hanging", 0)), int(cell.get("disconnected", 0))
    total = dice.below(world.distractors + 1)
    hanging = sum(dice.uniform() < world.hanging for _ in range(total))
    return hanging, total - hanging


def _problem(
    world: GraphWorld, told: Told, context: str, split: Split, fixed: Mapping[str, str | int]
) -> Problem:
    dag: Dag = told.dag
    prompt = decode(prompt_ids(told, context))
    signs = {OPERATIONS[d.operation] for d in dag.definitions[: dag.needed] if d.operation != CONSTANT}
    skills = frozenset({f"operation {s}" for s in signs} | {f"context {context}", f"plan {dag.operations}"})
    return Problem(
        id=problem_id("graph", prompt),
        prompt=prompt,
        answer=str(dag.values[dag.target]),
        cell={"domain": "graph", **fixed},
        split=split,
        skills=skills,
        facts={
            "seen": skills <= world.known_skills,
            "atoms_seen": f"context {context}" in world.known_skills,
            "floor": float(world.modulus) ** -dag.operations,
            "guess_rate": 1 / world.modulus,
            "context": context,
            "needed": dag.needed,
            "hanging": dag.hanging,
            "disconnected": dag.disconnected,
            "depth": _depth(dag),
        },
    )


def _depth(dag: Dag) -> int:
    """Operations on the longest chain to the target."""
    depths: list[int] = []
    for definition in dag.definitions[: dag.needed]:
        deepest = max((depths[i] for i in definition.parents), default=0)
        depths.append(deepest + (definition.operation != CONSTANT))
    return depths[dag.target]
