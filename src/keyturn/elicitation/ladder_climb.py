"""A climb of the causal ladder: a direction, a behaviour, and draws of a policy under interventions.

The rungs are in :mod:`keyturn.elicitation.ladder`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate
from keyturn.core.problem import Problem
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.elicitation.contract import Asked
from keyturn.lab.lab import Lab
from keyturn.policies.interventions import Intervention, Where
from keyturn.policies.sites import Site
from keyturn.policies.steered import SteeredPolicy
from keyturn.policies.taps import ActivationTap, tap
from keyturn.rollouts.completions import Completions

Behaviour: TypeAlias = Callable[[Completions, NDArray[np.float64]], NDArray[np.bool_]]
"""``(draws, success of each) -> whether each shows the behaviour``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """A direction whose ladder is climbed.

    Args:
        vector: ``[dim]``, of length 1, towards the behaviour.
        length: how much of it is added at dose 1.
        site, where: the place in the model, and the tokens at which it is added.
        made_from: prompts of the problems that it was made from.
    """

    vector: NDArray[np.float64]
    length: float
    site: Site
    where: Where
    made_from: frozenset[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Draws under some intervention: whether each shows the behaviour and is right, and rates by problem."""

    drawn: Completions
    shown: NDArray[np.bool_]
    right: NDArray[np.float64]

    def rate(self, values: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Mean over each problem's draws, of the behaviour by default: ``[problem]``."""
        given = self.shown if values is None else values
        count = len(self.drawn.prompts)
        return np.bincount(self.drawn.problem, given, count) / np.bincount(self.drawn.problem, minlength=count)


@dataclass(frozen=True, kw_only=True, eq=False)
class Climb:
    """What all rungs share: the plain draws, their states, and how a policy under interventions is asked."""

    lab: Lab
    asked: Asked
    direction: Direction
    behaviour: Behaviour
    known: dict[str, Any] = field(default_factory=dict)

    def judged(self, drawn: Completions, problems: Sequence[Problem] | None = None) -> Run:
        """Draws with what they show."""
        own = tuple(self.asked.problems.problems if problems is None else problems)
        grader = self.asked.problems.grader
        grades = grader.grade(own, drawn)
        given = grades.verified if grader.reads_traces else grades.outcome
        right = np.nan_to_num(np.asarray(given, dtype=np.float64))
        return Run(drawn=drawn, shown=self.behaviour(drawn, right), right=right)

    def run(self, *several: Intervention) -> Run:
        """Draws of every problem under interventions, kept on disk."""
        asked = self.asked
        policy = SteeredPolicy(asked.model, several) if several else asked.model
        _, drawn = self.lab.draw(
            policy, asked.problems.problems, asked.draws, asked.limits, name="causal ladder"
        )
        return self.judged(drawn)

    def added(self, vector: NDArray[np.float64], dose: float) -> Run:
        """Draws with a unit vector added at a dose."""
        given = self.direction
        return self.run(
            Intervention(
                name="ladder",
                site=given.site,
                vector=vector,
                coefficient=dose * given.length,
                where=given.where,
            )
        )

    def without(self, vector: NDArray[np.float64]) -> Run:
        """Draws with a unit vector projected out everywhere."""
        site = self.direction.site
        return self.run(Intervention(name="ladder", site=site, vector=vector, mode="project_out", where="all"))

    def states(self, reduce: Literal["mean", "none"]) -> tuple[NDArray[np.float64], NDArray, NDArray]:
        """States of the plain draws' written tokens with row and place."""
        drawn = self.known["plain"].drawn
        what = ActivationTap(sites=(self.direction.site,), positions="completion", reduce=reduce, sinks=0)
        found = tap(self.asked.model, drawn, what)
        prompts = np.diff(drawn.prompts.offsets)[drawn.problem]
        return found.states[0].astype(np.float64), found.row, found.position - prompts[found.row]

    def mean(self, values: NDArray[np.float64], label: str, least: float = -1.0) -> Estimate:
        """The mean over problems with its interval; a problem has values from ``least`` to 1."""
        dice = self.lab.streams.generator("ladder", label)
        return bootstrap_mean(values, dice, bounds=(least, 1.0))
