"""Inverted: another reward with reversed sign, so that what it rewards is penalised.

Formula: ``r_i = low + high - inner_i``, ``[row]``; with the default range ``1 - inner_i``.
Denominator: none; one number per completion.
Degenerate: an ungraded completion stays ungraded. For a reward of both signs, such as -1 and 1, the range must
be given, or all rewards shift (which does not affect a centred objective).
Known bias: the gradient of a centred objective is exactly the negative of that under the inner reward, so any
rise of the inner reward comes from the objective itself.
Source: Ours, as the opposite end of the spurious rewards of Shao et al. 2025 (2506.10947).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keyturn.rewards.contract import Reward, composed, rewards_of
from keyturn.rewards.outcome import outcome


@dataclass(frozen=True, kw_only=True)
class InvertedConfig:
    """Settings of the inverted reward."""

    low: float = 0.0
    """Lower end of the inner reward's range, in units of reward."""
    high: float = 1.0
    """Upper end of the inner reward's range, in units of reward."""


def inverted(config: InvertedConfig = InvertedConfig(), inner: Reward | None = None) -> Reward:
    """Another reward (the outcome by default) with reversed sign."""
    of = outcome() if inner is None else inner
    ends = np.float32(config.low) + np.float32(config.high)
    return Reward(
        name="inverted",
        summary=f"1 minus another reward ({of.name})",
        source="Ours",
        reward=lambda graded: ends - rewards_of(of, graded),
        config=composed(config, of),
        blind=of.blind,
    )
