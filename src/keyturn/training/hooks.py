"""Hooks for RL runs: resets and schedules, each a few lines on top of the loop's own methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.core.measurement import Json
from keyturn.training.loop import Loop


@dataclass(frozen=True, kw_only=True)
class ResetEvery:
    """Reset the reference, the optimiser or both every so many steps (ProRL, 2505.24864, section 2.3.2)."""

    steps: int
    """Steps between resets."""
    reference: bool = True
    """Make the reference the policy of that moment."""
    optimiser: bool = True
    """Forget the moments."""

    @property
    def name(self) -> str:
        """Identity with its settings."""
        return f"reset every {self.steps} (reference {self.reference}, optimiser {self.optimiser})"

    def state(self) -> dict[str, Json]:
        """Nothing: the step decides."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Reset where it is due."""
        if loop.step % self.steps:
            return
        if self.reference:
            loop.reset_reference()
        if self.optimiser:
            loop.reset_optimiser()


@dataclass
class StopWhen:
    """End the run once a metric has stayed at a level for some steps in a row."""

    metric: str
    """Column of the metrics, e.g. ``"verified"``."""
    at_least: float
    """The level."""
    steps: int = 5
    """Steps in a row."""
    _held: int = 0

    @property
    def name(self) -> str:
        """Identity with its settings."""
        return f"stop when {self.metric} >= {self.at_least} for {self.steps}"

    def state(self) -> dict[str, Json]:
        """How long the level has been held."""
        return {"held": self._held}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._held = int(state["held"])

    def before_rollout(self, loop: Loop) -> None:
        """Nothing before a rollout."""

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Count, and stop when it is time."""
        self._held = self._held + 1 if row.get(self.metric, float("-inf")) >= self.at_least else 0
        if self._held >= self.steps:
            loop.stop(f"{self.metric} stayed at {self.at_least} or more for {self.steps} steps")


@dataclass(frozen=True, kw_only=True)
class FadeTerm:
    """Change the weight of one term of the loss linearly from one factor to another."""

    term: str
    """Name of the term, e.g. ``"kl"``."""
    steps: int
    """Steps over which it changes; constant afterwards."""
    first: float = 1.0
    """Factor at the first step."""
    last: float = 0.0
    """Factor at the end."""

    @property
    def name(self) -> str:
        """Identity with its settings."""
        return f"fade {self.term} {self.first} to {self.last} over {self.steps}"

    def state(self) -> dict[str, Json]:
        """Nothing: the step decides."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take back."""

    def before_rollout(self, loop: Loop) -> None:
        """Set the factor of the step that begins."""
        share = min(1.0, loop.step / max(self.steps, 1))
        loop.weights[self.term] = self.first + (self.last - self.first) * share

    def after_step(self, loop: Loop, row: Mapping[str, float]) -> None:
        """Nothing after a step."""
