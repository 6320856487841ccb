"""The contract of an elicitation method: how a policy whose weights stay as they are is made to answer better.

A method is given a policy, problems and random streams, and returns one answer for every problem and draw with
what that answer cost. What is the same for all problems (a chosen opener, a vector) it prepares once; an answer
depends on nothing but its problem, its draw and what was prepared, so problems are answered in parts. At its
neutral settings a method gives, token by token, what plain sampling gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.beside import check_reads_along
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet
from keyturn.rollouts.completions import Completions

NEEDS: Mapping[str, tuple[str, str]] = {
    "model": (
        "the model in this process",
        "name a model folder or a Hub id: a server does not show what it reads",
    ),
    "development": ("development problems with answers", "--development FILE"),
    "exemplars": ("worked solutions", "--development FILE with a column 'solution'"),
    "teacher": ("a tuned model as teacher, in this process", "--teacher MODEL"),
}
"""What a method may need -> in words, and how to give it."""

Prepared: TypeAlias = Mapping[str, NDArray]
"""What a method made once for all problems, as arrays."""


@dataclass(frozen=True, kw_only=True)
class Exemplar:
    """A problem with a worked solution, as its author would have written it."""

    problem: Problem
    solution: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """What a method is given.

    Args:
        policy: who answers.
        problems: what is asked, and the grader that finds the answer in a text.
        draws: numbers of the answers that are wanted of every problem.
        streams: all randomness.
        limits: length of an answer and rows per batch.
        development: problems with gold answers, other ones, on which a method may make its choices.
        exemplars: worked solutions of such problems.
        in_words: the prompts are text for people; False for a controlled world, whose prompts are its own
            words.
        teacher: a tuned model that a method may look at while the policy answers.
        kept: a folder in which a long preparation keeps what is finished; None: it keeps nothing.
    """

    policy: Policy
    problems: ProblemSet
    draws: range
    streams: Streams
    limits: Limits
    development: ProblemSet | None = None
    exemplars: tuple[Exemplar, ...] = ()
    in_words: bool = True
    teacher: Policy | None = None
    kept: Path | None = None

    @property
    def model(self) -> LocalPolicy:
        """The policy, where its model is in this process.

        Raises:
            UsageError: it is not.
        """
        if not isinstance(self.policy, LocalPolicy):
            what, fix = NEEDS["model"]
            raise UsageError(f"this needs {what}", fix=fix)
        return self.policy

    def of(self, problems: Sequence[Problem]) -> Asked:
        """The same of other problems, with the same grader."""
        return replace(self, problems=replace(self.problems, problems=tuple(problems)))

    def many(self, count: int) -> Asked:
        """The same with ``count`` draws in place of each: those of draw ``d`` are ``d * count`` and after."""
        return replace(self, draws=range(self.draws.start * count, self.draws.stop * count))

    def answers(self, completions: Completions) -> tuple[str, ...]:
        """The answer that the grader finds in each text, ``""`` where it finds none; never whether it is
        right."""
        return self.problems.grader.grade(self.problems.problems, completions).answer


@dataclass(frozen=True, kw_only=True, eq=False)
class Costs:
    """What answers cost, one entry an answer. NaN where a server does not say.

    Args:
        generated: tokens that were chosen for the answer, those of discarded texts included.
        read: tokens that were read and not chosen: prompts and forced words, again each time they are read.
        passes: forward passes over the answer's rows: one for every chosen token (the first one reads the
            prompt), one for every text that is read whole, one for every step that is repeated, and one for
            every token that a teacher reads along.
        steered: tokens of the answer whose distribution was changed by a vector, a penalty or a teacher.
        teacher_bits: information from a teacher, in bits.
        checks: how often a verifier was asked about a candidate.
    """

    generated: NDArray[np.float64]
    read: NDArray[np.float64]
    passes: NDArray[np.float64]
    steered: NDArray[np.float64]
    teacher_bits: NDArray[np.float64]
    checks: NDArray[np.float64]

    @staticmethod
    def nothing(rows: int) -> Costs:
        """No cost yet."""
        names = ("generated", "read", "passes", "steered", "teacher_bits", "checks")
        return Costs(**{name: np.zeros(rows) for name in names})

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Name -> one number an answer."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def grouped(self, size: int) -> Costs:
        """Sums over every ``size`` entries that follow each other."""
        return Costs(**{name: one.reshape(-1, size).sum(axis=1) for name, one in self.columns().items()})

    def __add__(self, other: Costs) -> Costs:
        mine, theirs = self.columns(), other.columns()
        return Costs(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, kw_only=True, eq=False)
class Elicitation:
    """What a method gives.

    Args:
        completions: an answer for every problem and draw, problem-major, draw-minor, over the problems asked.
        costs: what each cost.
        facts: further numbers of each answer by name (``accepted``, ``agreement``...).
    """

    completions: Completions
    costs: Costs
    facts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


Prepare: TypeAlias = Callable[[Asked, Any], Prepared]
Answer: TypeAlias = Callable[[Asked, Any, Prepared], Elicitation]


@dataclass(frozen=True, kw_only=True)
class ElicitationMethod:
    """An elicitation method. Values live in ``elicitation.ELICITATIONS``.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: authors, year, identifier.
        cost: what an answer costs, in words.
        control: methods that tell what it does from what anything of its kind would do.
        controls: it is itself such a control and claims nothing.
        needs: names in :data:`NEEDS`.
        config: its default settings, a frozen dataclass; None where there is nothing to set.
        neutral: the settings at which it is plain sampling.
        prepare: ``(asked, config) -> arrays``: what it makes once, from development problems and exemplars.
        examples: ``(asked, config) -> number`` of problems whose gold answers ``prepare`` or the prompts use.
        weights: ``(asked, config) -> number`` of weights that are not the policy's in the models that answer,
            all models together; None: there are none.
        example: a model of the problems that it is for, in a command to try.
        unserved: why it cannot answer questions whose answer nobody knows; empty where it can.
        answer: ``(asked, config, prepared) -> answers``.
    """

    name: str
    summary: str
    source: str
    cost: str
    control: tuple[str, ...]
    controls: bool = False
    needs: frozenset[str] = frozenset()
    config: Any = None
    neutral: Any = None
    prepare: Prepare | None = None
    examples: Callable[[Asked, Any], int] | None = None
    weights: Callable[[Asked, Any], int] | None = None
    example: str = "graph"
    unserved: str = ""
    answer: Answer

    def check(self, asked: Asked) -> None:
        """Refuse what the method cannot work with, before anything is drawn.

        Raises:
            UsageError: the message says what is missing and how to give it.
            InputError: the teacher cannot read what the base writes.
        """
        there = {
            "model": isinstance(asked.policy, LocalPolicy),
            "development": asked.development is not None,
            "exemplars": bool(asked.exemplars),
            "teacher": isinstance(asked.teacher, LocalPolicy),
        }
        for need in sorted(self.needs):
            if not there[need]:
                what, fix = NEEDS[need]
                raise UsageError(f"{self.name} needs {what}", fix=fix)
        if "teacher" in self.needs and isinstance(asked.teacher, LocalPolicy):
            lengths = np.diff(asked.model.prompts(asked.problems.problems).offsets)
            longest = int(lengths.max(initial=0)) + asked.limits.max_new_tokens
            check_reads_along(asked.model, asked.teacher, longest)
