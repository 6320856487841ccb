"""Hooks that watch validation during a run: measure it, reset when it stagnates, stop long after its plateau.

A curve stagnates when ``patience`` consecutive measurements lie no more than ``margin`` above the best before
them. Every measurement uses the same random streams, so that a difference between two steps does not come from
different random draws.
Denominator: validation problems. Degenerate: an undefined measurement is ignored.
Known bias: the best of a noisy curve is too high, so small real progress may be called stagnation. A larger
margin makes that more likely, more draws make it less likely.
Source: reference reset when validation stagnates or degrades: ProRL (Liu et al. 2025, 2505.24864, section
2.3.2), which decides by eye; the rule is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keyturn.core.measurement import Json, from_json_number, json_number
from keyturn.core.streams import Streams
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet, answers
from keyturn.training.loop import Loop

VALIDATION = "validation"
"""Column that :class:`Validate` writes and the others read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Validate:
    """Measure success on validation problems every few steps, as a column of the metrics."""

    problems: ProblemSet
    """What is asked; nothing is learnt from it."""
    streams: Streams
    """Randomness of the draws, the same at every measurement."""
    limits: Limits
    """Length limit and rows decoded at once."""
    every: int = 10
    """Steps between measurements."""
    draws: int = 4
    """Draws per problem."""

    @property
    def name(self) -> str:
        """Identity, including the settings."""
        asked = self.problems.fingerprint
        path = "/".join(map(str, self.streams.path))
        most = self.limits.max_new_tokens
        return f"validate every {self.every}: {self.draws} draws of {asked}, {most} tokens, streams {path}"

    def state(self) -> dict[str, Json]:
        """Nothing: the metrics hold the curve."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Draw, grade and note the mean over problems."""
        if loop.step % self.every:
            return
        asked = self.problems.problems
        drawn = loop.policy.draw(asked, range(self.draws), self.streams, self.limits)
        given = answers("policy", asked, drawn, self.problems.grader.grade(asked, drawn))
        n, c = given.counts()
        if n.any():
            loop.measured[VALIDATION] = float(np.mean(c[n > 0] / n[n > 0]))


@dataclass
class Stagnation:
    """Whether a curve still rises, one value after another."""

    patience: int
    """Consecutive values without progress that count as stagnation."""
    margin: float
    """Progress is a value more than this above the best, in the curve's unit."""
    best: float = -math.inf
    since: int = 0

    def seen(self, value: float) -> bool:
        """Take the next value; True if the curve now stagnates."""
        if math.isnan(value):
            return False
        if value > self.best + self.margin:
            self.best, self.since = value, 0
            return False
        self.since += 1
        return self.since >= self.patience

    def begin(self, value: float) -> None:
        """Forget earlier values and compare with this value from now on."""
        self.best, self.since = value, 0


@dataclass
class ResetWhen:
    """Reset the reference, the optimiser or both when a metric stagnates (ProRL, 2505.24864, section 2.3.2)."""

    metric: str = VALIDATION
    """Column of the metrics; rows without it are passed over."""
    patience: int = 3
    """Consecutive values without progress."""
    margin: float = 0.01
    """What counts as progress, in the metric's unit."""
    reference: bool = True
    """Make the reference the policy of that moment."""
    optimiser: bool = True
    """Forget the moments."""
    _curve: Stagnation = field(init=False)

    def __post_init__(self) -> None:
        self._curve = Stagnation(self.patience, self.margin)

    @property
    def name(self) -> str:
        """Identity, including the settings."""
        what = f"reference {self.reference}, optimiser {self.optimiser}"
        return f"reset when {self.metric} rises by no {self.margin} in {self.patience} ({what})"

    def state(self) -> dict[str, Json]:
        """The best so far and how long ago."""
        return {"best": json_number(self._curve.best), "since": self._curve.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._curve.best, self._curve.since = from_json_number(state["best"]), int(state["since"])

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Reset if it is due, and restart the comparison."""
        value = row.get(self.metric, math.nan)
        if not self._curve.seen(value):
            return
        if self.reference:
            loop.reset_reference()
        if self.optimiser:
            loop.reset_optimiser()
        loop.measured["reset"] = 1.0
        self._curve.begin(value)


@dataclass
class StopAfterPlateau:
    """End the run at a multiple of the step at which a metric was first found to stagnate."""

    metric: str = VALIDATION
    """Column of the metrics."""
    patience: int = 3
    """Consecutive values without progress."""
    margin: float = 0.01
    """What counts as progress."""
    times: float = 10.0
    """The run ends at this multiple of the plateau's step."""
    _curve: Stagnation = field(init=False)
    _plateau: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._curve = Stagnation(self.patience, self.margin)

    @property
    def name(self) -> str:
        """Identity, including the settings."""
        return f"stop at {self.times} x plateau of {self.metric} ({self.margin} in {self.patience})"

    def state(self) -> dict[str, Json]:
        """The curve's best and the plateau, 0 where there is none yet."""
        curve = self._curve
        return {"best": json_number(curve.best), "since": curve.since, "plateau": self._plateau}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._curve.best, self._curve.since = from_json_number(state["best"]), int(state["since"])
        self._plateau = int(state["plateau"])

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Detect the plateau, then wait for the end."""
        if not self._plateau and self._curve.seen(row.get(self.metric, math.nan)):
            self._plateau = loop.step
        if self._plateau:
            loop.measured["plateau"] = float(self._plateau)
            if loop.step >= self.times * self._plateau:
                loop.stop(f"{self.metric} had its plateau at step {self._plateau}")
