"""Process: the steps count beside the answer, or every step must be right before the answer counts.

Formula, with ``process_i`` the share of the problem's needed nodes that the trace has right (``[row]``)::

    blend:   r_i = alpha * outcome_i + (1 - alpha) * process_i
    strict:  r_i = outcome_i * [process_i = 1]

Denominator: that of ``process``, the needed nodes of the problem.
Degenerate: an ungraded completion (NaN) has reward NaN; ``alpha = 1`` is the outcome reward.
Known bias: blending pays for right steps towards a wrong answer; strict pays nothing for a right answer
that skips a step.
Source: the process-verified rewards of Zhang, Neubig and Yue 2025 (2512.07783), section 5, where alpha is
1, 0.5 or 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.rewards.contract import Reward
from keyturn.rollouts.grades import Grades


@dataclass(frozen=True, kw_only=True)
class ProcessConfig:
    """Settings of the process reward."""

    alpha: float = 0.5
    """Weight of the outcome, 0 to 1; the rest is on the process (2512.07783 takes 1, 0.5, 0.2)."""
    strict: bool = False
    """Pay for the answer only where the whole process is right; alpha is not used then."""


def process(config: ProcessConfig = ProcessConfig()) -> Reward:
    """The process reward with the given settings."""
    if not 0.0 <= config.alpha <= 1.0:
        raise UsageError(f"alpha is {config.alpha}, not within 0 to 1", fix="set it between 0 and 1")
    return Reward(
        name="process",
        summary="right steps blended with, or required for, a right answer",
        source="Zhang, Neubig and Yue 2025, arXiv 2512.07783, section 5",
        reward=lambda graded: process_reward(graded.grades, config),
        config=config,
    )


def process_reward(grades: Grades, config: ProcessConfig) -> NDArray[np.float32]:
    """One reward a completion, float32 ``[row]``; NaN where ungraded.

    Raises:
        InputError: the grader does not read traces, so there is no process to pay for.
    """
    steps = grades.columns.get("process")
    if steps is None:
        raise InputError(
            "the process reward needs a grader that reads traces; this one gives no column 'process'",
            fix="use the outcome reward, or a world's problems",
        )
    if config.strict:
        whole = np.where(np.isnan(steps), np.nan, steps >= 1.0)
        return (grades.outcome * whole).astype(np.float32)
    return (config.alpha * grades.outcome + (1 - config.alpha) * steps).astype(np.float32)
