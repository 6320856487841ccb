"""Inverted: another reward upside down, so that what it pays for is punished.

Formula: ``r_i = low + high - inner_i``, ``[row]``; with the default range ``1 - inner_i``.
Denominator: none; one number a completion.
Degenerate: an ungraded completion stays ungraded. Of a reward of both signs, such as -1 and 1, the range must
be named, or all rewards shift (which no centred objective sees).
Known bias: the gradient of a centred objective is exactly the negative of the inner reward's; rises under it
are therefore the objective's own doing.
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
    """Another reward (the outcome by default) upside down."""
    of = outcome() if inner is None else inner
    ends = np.float32(config.low) + np.float32(config.high)
    return Reward(
        name="inverted",
        summary=f"another reward ({of.name}) upside down: 1 minus it",
        source="Ours",
        reward=lambda graded: ends - rewards_of(of, graded),
        config=composed(config, of),
        blind=of.blind,
    )
