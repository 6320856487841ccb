"""CREATE: build the target from the given numbers in any way; all answers are known.

``BOS CTL4 C1 2 5 3 3 ; 2 ASK 4`` gives four numbers and asks for 4, modulo 7, by exactly two operations that
use
each number at most once: ``DO 2 + 5 = 0 apple ; DO apple 0 - 3 = 4 pear ; ANS 4 EOS``. A result gets a name
when it is computed and is fetched where it is used, so both operands stand right before an operation.
Numbers, order and operations are free. Names are not (they are the context's nouns in order), so every free
choice
matters: it is a planning token with its set of right choices. The form decides what is new (see
:mod:`keyturn.problems.world.create_forms`): pretraining shows a share of the forms and no others, and each
problem has answers of both kinds. With ``composed`` at 0 all texts have one operation, so the base cannot
compose.

The numbers are part of the prompt. So there are enough problems for disjoint splits, and few enough answers to
list them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations_with_replacement, islice
from typing import ClassVar, Literal

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem, Split
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import NO_MANNERS, Reader, ValidCompletions
from keyturn.problems.world.create_build import Build
from keyturn.problems.world.create_forms import OPERATIONS, calculate, is_shown, tally
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document, LossWeights
from keyturn.problems.world.mixture import Mixture
from keyturn.problems.world.split import problem_id, split_of
from keyturn.problems.world.verify_create import MARK, CreateTask, read_create_completion, read_create_prompt
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BOS,
    CONTEXTS,
    DO,
    END,
    EOS,
    EQUALS,
    ID,
    PLUS,
    VALUE,
    decode,
    encode,
)

_PRIMES = (5, 7, 11)
_TRIES = 2000
"""Draws in a row that bring no problem of the wanted split, after which there is held to be none."""


@dataclass(frozen=True, kw_only=True)
class CreateWorld:
    """A world of constructions; named worlds differ in the operations and forms that pretraining shows."""

    name: str = "create"
    """Its name in reports."""
    modulus: int = 7
    """Prime up to 11; results are residues. As in CHAIN."""
    given: int = 4
    """Numbers in a prompt, from 1 to modulus - 1, repetitions allowed. Ours: all answers can be listed."""
    operations: tuple[int, int] = (1, 3)
    """Fewest and most operations in pretraining."""
    composed: float = 0.7
    """Share of texts with more than one operation; 0 makes composing absent. Ours."""
    shown: float = 0.5
    """Share of forms that pretraining may hold; the others are new. Ours."""
    rl_operations: tuple[int, ...] = (2, 3)
    """Operations of the problems that RL asks."""
    test_operations: tuple[int, ...] = (1, 2, 3)
    """Operations of evaluation."""
    contexts: Mapping[str, float] = field(default_factory=lambda: {"C1": 0.95, "C2": 0.05})
    """Shares of the noun sets."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weights of tokens in the pretraining loss."""

    domain: ClassVar[str] = "create"
    level: ClassVar[str] = "operations"
    reads_traces: ClassVar[bool] = True
    manners: ClassVar[Mapping[str, tuple[str, ...]]] = NO_MANNERS
    columns: ClassVar[Mapping[str, Literal["text", "number"]]] = {"canonical": "text", "novel": "number"}

    def __post_init__(self) -> None:
        if self.modulus not in _PRIMES:
            raise UsageError(f"modulus {self.modulus} is not a prime from 5 to 11", fix="5, 7 or 11")
        for label, share in (("composed", self.composed), ("shown", self.shown)):
            if not 0 <= share <= 1:
                raise UsageError(f"{label} is {share}; a share lies in [0, 1]", fix=f"{label} between 0 and 1")
        if self.shown == 0:
            raise UsageError("shown is 0: pretraining would show nothing", fix="shown above 0")
        every = (*self.operations, *self.rl_operations, *self.test_operations)
        if self.operations[0] > self.operations[1] or min(every) < 1 or max(every) >= self.given:
            what = f"operations {every} do not fit {self.given} given numbers"
            raise UsageError(what, fix="1 to given - 1, fewest before most")
        if not 2 <= self.given <= 5:
            raise UsageError(
                f"{self.given} given numbers", fix="2 to 5: with more, the answers are too many to list"
            )
        if set(self.contexts) - set(CONTEXTS):
            raise UsageError(f"contexts: there is no {min(set(self.contexts) - set(CONTEXTS))}", fix="C1 to C4")
        Mixture(self.contexts, "contexts")
        if (self.composed > 0 and self.operations[1] == 1) or (self.composed < 1 and self.operations[0] > 1):
            what = f"composed is {self.composed}, but operations {self.operations} rule that out"
            raise UsageError(what, fix="composed 0 for one operation, 1 if there are always more")

    @property
    def mixture(self) -> Mapping[str, float]:
        """Shares of components: one operation or more, and the context."""
        kinds = {"single": 1 - self.composed, "composed": self.composed}
        return {f"{k} {c}": a * b for k, a in kinds.items() for c, b in self.contexts.items()}

    @property
    def known_skills(self) -> frozenset[str]:
        """Skills that pretraining shows: numbers of operations, contexts, composing if it has a share."""
        low, high = self.operations
        counts = range(max(low, 2), high + 1) if self.composed > 0 else ()
        single = {"build 1"} if self.composed < 1 else set()
        contexts = {f"context {name}" for name, share in self.contexts.items() if share > 0}
        return frozenset({f"build {n}" for n in counts} | single | contexts)

    @property
    def verifier_settings(self) -> str:
        """Modulus and share of shown forms, which the prompt does not say."""
        return f" mod {self.modulus} shown {self.shown:g}"

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt."""
        return 7 + self.given

    @property
    def max_new_tokens(self) -> int:
        """Longest valid completion, ``EOS`` included: eight tokens per statement, one per result that is
        used."""
        most = max(self.operations[1], *self.rl_operations, *self.test_operations)
        return 8 * most + (most - 1) + 3

    def cells(self, split: Split) -> tuple[dict[str, str | int], ...]:
        """The cells of a split if none are named."""
        low, high = self.operations
        sizes = {"pretrain": range(low, high + 1), "rl": self.rl_operations}
        return tuple({"domain": "create", "operations": n} for n in sizes.get(split, self.test_operations))

    def draw_problems(
        self, split: Split, cell: Mapping[str, str | int], count: int, streams: Streams
    ) -> list[Problem]:
        """Different problems of a cell and split, each with shown and new answers; fewer if fewer exist.

        A cell names ``operations`` and may fix ``context``.
        """
        operations = int(cell["operations"])
        generator = streams.generator("create", split, *(f"{k}={v}" for k, v in sorted(cell.items())))
        every = [
            (numbers, target)
            for numbers in combinations_with_replacement(range(1, self.modulus), self.given)
            for target in range(1, self.modulus)
        ]
        dice, contexts = Dice(generator), Mixture(self.contexts, "contexts")
        order = generator.permutation(len(every))
        kept = (every[i] for i in order if self._fits(every[i][0], every[i][1], operations, split))
        found = []
        for numbers, target in islice(kept, count):
            told = list(numbers)
            dice.shuffle(told)
            context = str(cell.get("context") or contexts.draw(dice))
            fixed = {"context": context} if "context" in cell else {}
            found.append(self._problem(prompt_ids(context, told, operations, target), context, split, fixed))
        return found

    def _fits(self, numbers: tuple[int, ...], target: int, operations: int, split: Split) -> bool:
        """Whether this is a problem of the split: its target is not given, and it has answers of both kinds."""
        if target in numbers or split_of(self._canonical(numbers, target, operations)) != split:
            return False
        every, shown = tally(numbers, operations, self.modulus, self.shown).get(target, (0, 0))
        return shown > 0 and (shown < every or self.shown == 1)

    def _canonical(self, numbers: tuple[int, ...], target: int, operations: int) -> str:
        return f"create {self.modulus} {' '.join(map(str, numbers))} ; {operations} = {target}"

    def _problem(
        self, prompt_tokens: tuple[int, ...], context: str, split: Split, fixed: Mapping[str, str | int]
    ) -> Problem:
        prompt = decode(prompt_tokens)
        task = self._task(list(prompt_tokens))
        every = tally(task.numbers, task.operations, self.modulus, self.shown)
        valid, shown = every[task.target]
        skills = frozenset({f"build {task.operations}", f"context {context}"})
        guess = valid / sum(n for n, _ in every.values())
        return Problem(
            id=problem_id("create", prompt),
            prompt=prompt,
            answer=str(task.target),
            cell={"domain": "create", "operations": task.operations, **fixed},
            split=split,
            skills=skills,
            facts={
                "seen": skills <= self.known_skills,
                "atoms_seen": f"context {context}" in self.known_skills,
                "floor": guess * float(self.modulus) ** -task.operations,
                "guess_rate": guess,
                "context": context,
                "constructions": valid,
                "novel_constructions": valid - shown,
            },
        )

    def draw_document(self, component: str, dice: Dice) -> Document:
        """One text of pretraining: a problem of its split, and a construction with a shown form."""
        kind, context = component.split()
        low, high = (1, 1) if kind == "single" else (max(2, self.operations[0]), self.operations[1])
        operations = low + dice.below(high - low + 1)
        for _ in range(_TRIES):
            told = [1 + dice.below(self.modulus - 1) for _ in range(self.given)]
            target = 1 + dice.below(self.modulus - 1)
            if self._fits(tuple(sorted(told)), target, operations, "pretrain"):
                task = self._task(list(prompt_ids(context, told, operations, target)))
                return self._build(prompt_ids(context, told, operations, target), task, component, dice)
        what = f"world {self.name}: pretraining holds no problem of {operations} operations"
        raise UsageError(what, fix="another modulus, more given numbers or a larger share shown")

    def reader(self, prompt: list[int]) -> Reader:
        """The verifier of a prompt."""
        return partial(read_create_completion, self._task(prompt))

    def demonstrate(
        self, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
    ) -> Document:
        """A construction with a shown form, drawn from the problem's own stream."""
        ids = tuple(encode(problem.prompt))
        dice = Dice(streams.generator("demonstrate", problem.id))
        return self._build(ids, self._task(list(ids)), "valid", dice)

    def valid_completions(self, problem: Problem, *, cap: int = 256) -> ValidCompletions:
        """The texts of all constructions, at most ``cap``."""
        task = self._task(encode(problem.prompt))
        found = tuple(islice(_texts(task, ()), cap + 1))
        left = f"all beyond the first {cap}" if len(found) > cap else ""
        return ValidCompletions(ids=found[:cap], complete=not left, left_out=left)

    def _task(self, prompt: list[int]) -> CreateTask:
        return read_create_prompt(prompt, self.modulus, self.shown)

    def _build(self, prompt: tuple[int, ...], task: CreateTask, component: str, dice: Dice) -> Document:
        """A text with uniform choices among the right ones, drawn again until its form is a shown one."""
        while True:
            text = _Text(task)
            while text.build.operations:
                a = dice.pick(text.build.right_first())
                sign = dice.pick(text.build.right_operations(a))
                text.write(a, sign, dice.pick(text.build.right_second(a, sign)))
            (form,) = text.build.forms.values()
            if is_shown(form, self.modulus, self.shown):
                return text.document(prompt, component)


class _Text:
    """A trace that is being written."""

    def __init__(self, task: CreateTask) -> None:
        self.build = Build(task.numbers, task.operations, task.target, task.modulus)
        self._task = task
        self._ids: list[int] = []
        self._roles: list[Role] = []
        self._choices: dict[int, tuple[int, ...]] = {}

    def write(self, a: int, sign: int, b: int) -> None:
        """Write one statement: operands, each with its value if it is a name, the result and its name."""
        build = self.build
        name = self._task.names[self._task.operations - build.operations]
        self._put((DO, Role.SYNTAX))
        self._choose(a, build.right_first())
        self._choose(sign, build.right_operations(a))
        self._choose(b, build.right_second(a, sign))
        x, y = build.value_of(a), build.value_of(b)
        value = calculate(OPERATIONS[sign - PLUS], x, y, self._task.modulus)
        self._put(
            (EQUALS, Role.SYNTAX), (VALUE + value, Role.ARITHMETIC), (name, Role.REPEAT), (END, Role.SYNTAX)
        )
        build.join(name, a, sign, b, value)

    def _choose(self, token: int, right: list[int]) -> None:
        self._choices[len(self._ids)] = tuple(right)
        self._put((token, Role.PLAN))
        if token in self.build.values:
            self._put((VALUE + self.build.values[token], Role.LOOKUP))

    def document(self, prompt: tuple[int, ...], component: str) -> Document:
        """The whole text, with its answer."""
        self._put((ANS, Role.SYNTAX), (VALUE + self._task.target, Role.ANSWER), (EOS, Role.SYNTAX))
        return Document(
            prompt=prompt,
            completion=tuple(self._ids),
            roles=tuple(map(int, self._roles)),
            choices=self._choices,
            component=component,
        )

    def _put(self, *tokens: tuple[int, Role]) -> None:
        self._ids += [token for token, _ in tokens]
        self._roles += [role for _, role in tokens]


def prompt_ids(context: str, numbers: list[int], operations: int, target: int) -> tuple[int, ...]:
    """``BOS CTL4 C1 2 5 3 3 ; 2 ASK 4``."""
    told = (VALUE + number for number in numbers)
    return (BOS, MARK, ID[context], *told, END, VALUE + operations, ASK, VALUE + target)


def _texts(task: CreateTask, made: tuple[tuple[int, int, int], ...]) -> Iterator[tuple[int, ...]]:
    """Every valid completion that begins with these statements."""
    text = _Text(task)
    for statement in made:
        text.write(*statement)
    if not text.build.operations:
        yield text.document((), "").completion
        return
    for a in text.build.right_first():
        for sign in text.build.right_operations(a):
            for b in text.build.right_second(a, sign):
                yield from _texts(task, (*made, (a, sign, b)))
