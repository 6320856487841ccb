"""Random: a coin decides, whatever the answer; any effect of training comes from the objective alone.

Formula: ``r_i ~ Bernoulli(gamma)``, ``[row]``, independent over rows. A row's coin has the key ``(step's
streams, "random", problem id, draw)``. It does not depend on the row's position or on other rows of the batch,
and a resumed step gets the same coin.
Denominator: none; one number per completion.
Degenerate: at ``gamma`` 0 or 1 all groups are silent. A problem that occurs twice in one step with the same
draw numbers gets the same coins.
Known bias: none in itself: it is independent of the completion, so every centred credit has mean 0. With
clipping and several updates per rollout the *update* is biased, which this reward is meant to show.
Source: Shao et al. 2025 (2506.10947), section 2, gamma 0.5 (also 0.001, 0.3, 0.7). Departure: each completion
has its own seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward


@dataclass(frozen=True, kw_only=True)
class RandomConfig:
    """Settings of the random reward."""

    gamma: float = 0.5
    """Probability of a reward of 1 (2506.10947)."""


def bernoulli(config: RandomConfig = RandomConfig()) -> Reward:
    """The random reward with the given settings."""
    if not 0.0 <= config.gamma <= 1.0:
        raise UsageError(f"gamma is {config.gamma}; it is a probability", fix="set it between 0 and 1")
    return Reward(
        name="random",
        summary="1 with probability gamma, else 0, whatever the answer",
        source="Shao et al. 2025, arXiv 2506.10947, section 2",
        reward=lambda graded: random_reward(graded, config),
        config=config,
        blind=True,
    )


def random_reward(graded: Graded, config: RandomConfig) -> NDArray[np.float32]:
    """One coin per completion, float32 ``[row]``."""
    # The key of a stream is a hash of 128 bits: as uniform as a generator's first number, and far quicker.
    below = int(config.gamma * 2.0**128)
    coins = (
        graded.streams.key("random", problem.id, draw) < below
        for problem, draw in zip(graded.asked(), graded.completions.draw.tolist(), strict=True)
    )
    return np.fromiter(coins, dtype=np.float32, count=len(graded))
