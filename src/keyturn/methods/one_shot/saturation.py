"""The post-saturation statistic: the gain from training after the training problems are mastered.

With training accuracy ``a_t`` of the policy after ``t`` steps, saturation is the first ``t`` with
``min(a_t .. a_{t+W-1}) >= level``. Among the policies kept from then on, the one with the highest *validation*
success is compared with the first of them on *test* problems:

    gain = success(best later) - success(at saturation),  paired over test problems

Denominator: test problems. Degenerate: a run that never saturates has no statistic (None, NaN with n = 0).
Known bias: none from the choice, which does not use the test problems. The policy at saturation is the first
one *kept* from then on, so it may be slightly later than saturation itself.
Source: post-saturation generalisation, Wang et al. 2025 (2504.20571, section 3.2), where the best checkpoint is
chosen on the test sets themselves; the choice on validation is the departure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keyturn.core.measurement import Json
from keyturn.training.loop import Loop

LEVEL = 0.99
"""Training accuracy that counts as saturated (2504.20571: the curve reaches it before step 100)."""


def saturation_step(accuracy: Sequence[float], *, level: float = LEVEL, window: int = 5) -> int | None:
    """The first step from which accuracy stays at the level for ``window`` steps; None if it never does.

    Args:
        accuracy: of the policy after 0, 1, 2... steps, ``[step]``; NaN is below every level.
        level: 0 to 1.
        window: consecutive steps, including the first.
    """
    held = 0
    for step, value in enumerate(accuracy):
        held = held + 1 if value >= level else 0
        if held == window:
            return step - window + 1
    return None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Two kept policies: the first after saturation, and the best from then on by validation."""

    saturated: int
    """Step of the first kept policy after saturation."""
    best: int
    """Step of the best one; the same step if no later policy is better."""


def best_later(validation: Mapping[int, float], saturated: int) -> Choice | None:
    """Choose among kept policies; None if none was kept from saturation on.

    Args:
        validation: step -> success on validation problems.
        saturated: step of saturation.
    """
    later = sorted(step for step in validation if step >= saturated and not np.isnan(validation[step]))
    if not later:
        return None
    return Choice(saturated=later[0], best=max(later, key=lambda step: (validation[step], -step)))


@dataclass
class StopAfterSaturation:
    """End the run at a multiple of the step at which a metric began to stay at its level."""

    metric: str = "outcome"
    """Column of the metrics."""
    level: float = LEVEL
    """The level."""
    window: int = 5
    """Consecutive steps."""
    times: float = 5.0
    """The run ends at this multiple of the saturation step."""
    _held: int = field(init=False, default=0)
    _since: int = field(init=False, default=-1)

    @property
    def name(self) -> str:
        """Identity, including the settings."""
        return f"stop at {self.times} x saturation of {self.metric} ({self.level} for {self.window})"

    def state(self) -> dict[str, Json]:
        """How long the level has been held, and the saturation step (-1: none yet)."""
        return {"held": self._held, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._held, self._since = int(state["held"]), int(state["since"])

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Detect saturation, then wait for the end."""
        if self._since < 0:
            self._held = self._held + 1 if row.get(self.metric, -1.0) >= self.level else 0
            if self._held == self.window:
                # The row of this step describes the policy before it; loop.step is already one further.
                self._since = loop.step - self.window
        if self._since >= 0:
            loop.measured["saturated"] = float(self._since)
            if loop.step >= max(self.times * self._since, self._since + self.window):
                loop.stop(f"{self.metric} was saturated from step {self._since}")
