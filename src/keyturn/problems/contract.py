"""The contract of a problem source: problems, and a grader that judges the answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import describe
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, Grades


class Grader(Protocol):
    """Judges completions. Reads only prompt, completion, gold answer and facts of a problem.

    Its settings decide its verdicts, so they must be describable (:mod:`keyturn.core.describe`): the grader is
    a frozen dataclass of its settings, a class without any, or an object with a ``config``.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def reads_traces(self) -> bool:
        """Whether ``verified`` is filled in."""
        ...

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row; ``completions.prompts.ids`` are the ids of ``problems``, in that order."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ProblemSet:
    """Problems with the grader that judges their answers."""

    name: str
    problems: tuple[Problem, ...]
    grader: Grader
    notes: tuple[str, ...] = ()
    """What reading left out or added, one sentence each."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the problems' content and of the grader's settings, without the set's name."""
        return identity({"problems": content_of(self.problems), "grader": describe(self.grader, "grader")})


def content_of(problems: Sequence[object]) -> str:
    """Hash of the content of problems (or of parts of them), in their order."""
    return identity({"problems": describe(problems, "problems")})


def answers(policy: str, problems: tuple[Problem, ...], completions: Completions, grades: Grades) -> Answers:
    """Completions and their grades as the table that measures read."""
    length: NDArray[np.int32] = completions.lengths.astype(np.int32)
    return Answers(
        policy=policy,
        problems=problems,
        problem=completions.problem,
        draw=completions.draw,
        outcome=grades.outcome,
        verified=grades.verified,
        answer=grades.answer,
        length=length,
        truncated=completions.stop == 1,
        columns=grades.columns,
    )
