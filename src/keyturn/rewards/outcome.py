"""Outcome: 1 if the answer is right, 0 if it is wrong; the trace is ignored.

Formula: ``r_i = right * outcome_i + wrong * (1 - outcome_i)``, ``[row]``.
Denominator: none; one number per completion.
Degenerate: an ungraded completion (NaN outcome) has reward NaN and is left out of its group.
Known bias: every way to the right answer is rewarded, also a guess among few answers.
Source: the verifiable reward of DeepSeek-R1 (2025, 2501.12948, section 2.2), without its format part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rewards.contract import Reward
from keyturn.rollouts.grades import Grades


@dataclass(frozen=True, kw_only=True)
class OutcomeConfig:
    """Settings of the outcome reward."""

    right: float = 1.0
    """Reward of a right answer."""
    wrong: float = 0.0
    """Reward of a wrong one (DAPO takes -1; for a centred objective it makes no difference)."""


def outcome(config: OutcomeConfig = OutcomeConfig()) -> Reward:
    """The outcome reward with the given settings."""
    return Reward(
        name="outcome",
        summary="1 for a right answer, 0 for a wrong one",
        source="DeepSeek-R1 2025, arXiv 2501.12948, section 2.2",
        reward=lambda graded: outcome_reward(graded.grades, config),
        config=config,
    )


def outcome_reward(grades: Grades, config: OutcomeConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN where ungraded."""
    return (config.wrong + (config.right - config.wrong) * grades.outcome).astype(np.float32)
