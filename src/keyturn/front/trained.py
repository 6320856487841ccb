"""What ``keyturn.train`` returns: the policies of a run, where they are stored and how they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from keyturn.core.errors import unknown
from keyturn.core.extras import need
from keyturn.core.measurement import Json
from keyturn.core.numbers import counted
from keyturn.core.text import one_line
from keyturn.policies.by_name import Loading, open_model
from keyturn.policies.local import LocalPolicy
from keyturn.report import training_html

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Training:
    """A finished run. It can stand for its policy in :func:`keyturn.audit`.

    Args:
        method: the method that trained it.
        folder: the run directory.
        policies: slot -> model folder; ``policy`` is the product.
        history: one mapping per step of RL (``reward``...), oldest first; empty if the product was not made by
            RL.
        rows: the table of a method of several stages: what it measured along the way.
        notes: what a reader of the history must know, one sentence each.
        device: the device that the policies are loaded on.
    """

    method: str
    folder: Path
    policies: Mapping[str, Path]
    history: tuple[Mapping[str, float], ...] = ()
    rows: tuple[Mapping[str, Json], ...] = ()
    notes: tuple[str, ...] = ()
    device: str = "cpu"

    @cached_property
    def policy(self) -> LocalPolicy:
        """The trained policy. It is loaded when it is first used."""
        return self.load()

    def load(self, slot: str = "policy") -> LocalPolicy:
        """Load one of the policies.

        Raises:
            UsageError: there is no such slot.
        """
        if slot not in self.policies:
            raise unknown("policy of this run", slot, self.policies)
        return open_model(self.policies[slot], Loading(device=self.device))

    def to_frame(self) -> pandas.DataFrame:
        """The history as a pandas data frame, one row per step.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return need("pandas", "a data frame").DataFrame(list(self.history))

    @property
    def curve(self) -> str:
        """The reward of the first and the last step, in words. Empty if there are no rewards."""
        rewards = [row.get("reward", math.nan) for row in self.history]
        if not rewards:
            return ""
        return f"reward {rewards[0]:.3f} to {rewards[-1]:.3f} in {counted(len(rewards), 'step')}"

    def __repr__(self) -> str:
        told = [self.curve or counted(len(self.rows), "row"), f"policy in {self.policies['policy']}"]
        return f"Training({one_line(self.method, 60)}: {'; '.join(one_line(part, 120) for part in told)})"

    def _repr_html_(self) -> str:
        return training_html(self.method, self.curve, self.policies, self.rows, self.notes)
