"""Graded group in, reward per completion out; one file each."""

from __future__ import annotations

from collections.abc import Callable

from keyturn.rewards.contract import Reward
from keyturn.rewards.outcome import outcome
from keyturn.rewards.process import process

REWARDS: dict[str, Callable[..., Reward]] = {
    "outcome": outcome,
    "process": process,
}
"""Name -> what builds the reward from its config (with none: the defaults)."""
