"""Tiered: a wrong answer, a malformed one and a missing one have different rewards.

Formula, per completion (``[row]``)::

    r_i = right       right
          formed      wrong in the right form
          malformed   wrong in another form
          cut         cut at the length limit without an answer

The form is that of the ``format`` reward: an answer was extracted, or a pattern occurs.
Denominator: none; one number per completion.
Degenerate: an ungraded completion has reward NaN.
Known bias: in groups without a right answer the form alone gives credit, which standardising by the group's
deviation scales to full size, however small the difference between the tiers.
Source: Zhang et al. 2025, CHORD (2508.11408), its reward for mathematics: 1, 0, -0.1 and -1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.format_only import FormatConfig, check, has_format
from keyturn.rollouts.completions import Stop


@dataclass(frozen=True, kw_only=True)
class TieredConfig:
    """Settings of the tiered reward."""

    right: float = 1.0
    """Reward of a right answer (2508.11408)."""
    formed: float = 0.0
    """Reward of a wrong answer in the right form (2508.11408)."""
    malformed: float = -0.1
    """Reward of anything else that ended (2508.11408)."""
    cut: float = -1.0
    """Reward of a text that was cut before it answered (2508.11408)."""
    pattern: str = ""
    """Regular expression of the right form; empty: an answer was extracted."""


def tiered(config: TieredConfig = TieredConfig()) -> Reward:
    """The tiered reward with the given settings."""
    check(FormatConfig(pattern=config.pattern))
    return Reward(
        name="tiered",
        summary="1 right, 0 wrong, -0.1 malformed, -1 cut without an answer",
        source="Zhang et al. 2025, CHORD, arXiv 2508.11408",
        reward=lambda graded: tiered_reward(graded, config),
        config=config,
    )


def tiered_reward(graded: Graded, config: TieredConfig) -> NDArray[np.float32]:
    """One of four rewards per completion, float32 ``[row]``; NaN where ungraded."""
    outcome = graded.grades.outcome
    answered = np.array([bool(answer) for answer in graded.grades.answer], dtype=bool)
    formed = has_format(graded, FormatConfig(pattern=config.pattern))
    cut = (graded.completions.stop == Stop.LENGTH) & ~answered
    wrong = np.where(cut, config.cut, np.where(formed, config.formed, config.malformed))
    value = np.where(outcome == 1, config.right, wrong)
    return np.where(np.isnan(outcome), np.nan, value).astype(np.float32)
