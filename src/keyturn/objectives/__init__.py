"""Rewards to credit to loss: pure functions on tensors, one file each."""

from __future__ import annotations

from collections.abc import Callable

from keyturn.objectives.contract import Objective
from keyturn.objectives.grpo import grpo
from keyturn.objectives.reinforce import reinforce
from keyturn.objectives.rloo import rloo

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "grpo": grpo,
    "reinforce": reinforce,
    "rloo": rloo,
}
"""Name -> what builds the objective from its config (with none: the defaults)."""
