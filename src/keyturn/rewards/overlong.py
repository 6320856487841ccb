"""Overlong: another reward minus a penalty that grows over the last tokens before the length limit.

Formula, with ``T_i`` the tokens of completion ``i``, ``L`` the limit and ``B`` the buffer (``[row]``)::

    r_i = inner_i + weight * p_i,    p_i = 0                    T_i <= L - B
                                           ((L - B) - T_i) / B  L - B < T_i <= L
                                           -1                   T_i > L

Denominator: ``B``, in tokens.
Degenerate: an ungraded completion stays ungraded. If ``limit`` exceeds the maximum length of a completion,
there is no penalty.
Known bias: against length near the limit, for right and wrong answers alike; with an inner reward of 0 or 1, a
right answer at the limit is worth no more than a wrong one that is a buffer shorter.
Source: Yu et al. 2025, DAPO (2503.14476), the soft overlong punishment; added to a reward of -1 and 1 there.
Tokens include the end-of-sequence token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward, composed, rewards_of
from keyturn.rewards.outcome import outcome


@dataclass(frozen=True, kw_only=True)
class OverlongConfig:
    """Settings of the overlong penalty."""

    limit: int = 20480
    """Length from which on the penalty is complete, in tokens (2503.14476)."""
    buffer: int = 4096
    """Length of the range before the limit over which it grows, in tokens (2503.14476)."""
    weight: float = 1.0
    """The complete penalty, in units of the inner reward (2503.14476)."""


def overlong(config: OverlongConfig = OverlongConfig(), inner: Reward | None = None) -> Reward:
    """Another reward (the outcome by default) with the overlong penalty."""
    if not 0 < config.buffer <= config.limit:
        raise UsageError(
            f"the buffer is {config.buffer} and the limit {config.limit}", fix="take 0 < buffer <= limit"
        )
    of = outcome() if inner is None else inner
    return Reward(
        name="overlong",
        summary=f"another reward ({of.name}) minus a penalty that grows towards the length limit",
        source="Yu et al. 2025, DAPO, arXiv 2503.14476, soft overlong punishment",
        reward=lambda graded: overlong_reward(graded, config, of),
        config=composed(config, of),
        blind=of.blind,
    )


def overlong_reward(graded: Graded, config: OverlongConfig, inner: Reward) -> NDArray[np.float32]:
    """The inner reward with the penalty for length, float32 ``[row]``."""
    cost = config.weight * punishment(graded.completions.lengths, config)
    return (rewards_of(inner, graded) + cost).astype(np.float32)


def punishment(lengths: NDArray[np.integer], config: OverlongConfig) -> NDArray[np.float32]:
    """The penalty for the length of each completion, -1 to 0, float32 ``[row]``."""
    return np.clip((config.limit - config.buffer - lengths) / config.buffer, -1.0, 0.0).astype(np.float32)
