"""Sum: the weighted sum of several rewards.

Formula: ``r_i = sum_k weight_k * inner_k,i``, ``[row]``.
Denominator: none; the weights need not sum to one.
Degenerate: a completion that one of them leaves ungraded is ungraded, even if the weight of that one is 0. Each
inner reward has its own random streams, so two random rewards are two coins.
Known bias: that of its parts. A group is silent only if all parts are, so standardising by the group's
deviation amplifies any part that still differs.
Source: Ours; with a format of 1 and -1 and an outcome of 2 and -2 it is the reward of ToM-RL (2504.01698),
whose answer part is also -2 if the form is wrong, as under any strict grader.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward, composed, rewards_of
from keyturn.rewards.format_only import format_only
from keyturn.rewards.outcome import outcome


@dataclass(frozen=True, kw_only=True)
class SumConfig:
    """Settings of the sum."""

    weights: tuple[float, ...] = ()
    """One weight per reward, in their order; empty means that all are 1."""


def sum_of(config: SumConfig = SumConfig(), *inner: Reward) -> Reward:
    """The weighted sum of rewards (outcome and format by default)."""
    parts = inner or (outcome(), format_only())
    weights = config.weights or (1.0,) * len(parts)
    if len(weights) != len(parts):
        raise UsageError(f"{len(weights)} weights for {len(parts)} rewards", fix="give one weight per reward")
    return Reward(
        name="sum",
        summary=" + ".join(f"{w:g} x {part.name}" for w, part in zip(weights, parts, strict=True)),
        source="Ours",
        reward=lambda graded: sum_reward(graded, weights, parts),
        config=composed(config, *parts),
        blind=all(part.blind for part in parts),
    )


def sum_reward(graded: Graded, weights: tuple[float, ...], parts: tuple[Reward, ...]) -> NDArray[np.float32]:
    """The weighted sum, float32 ``[row]``."""
    total = np.zeros(len(graded), dtype=np.float64)
    for number, (weight, part) in enumerate(zip(weights, parts, strict=True)):
        own = replace(graded, streams=graded.streams.child("sum", number))
        total += weight * rewards_of(part, own)
    return total.astype(np.float32)
