"""Process: steps count together with the answer, or an answer counts only if all steps are right, or steps
alone.

Formula, with ``process_i`` the share of the problem's needed steps that are right in the trace (``[row]``)::

    blend:   r_i = alpha * outcome_i + (1 - alpha) * process_i
    strict:  r_i = outcome_i * [process_i = 1]
    dense:   r_i = process_i

``of`` replaces ``process_i`` by the share of right planning choices, or of right executions.
Denominator: that of the share: the needed steps of the problem, or the planning or executing tokens of the
trace. Degenerate: an ungraded completion (NaN outcome) has reward NaN; a graded one without any token of the
kind that ``of`` names has share 0, so that an omitted plan is never paid; ``alpha = 1`` is the outcome reward.
Known bias: blend and dense pay for right steps towards a wrong answer, and dense pays the same for a trace
without an answer; strict pays nothing for a right answer that skips a step.
Source: the process-verified rewards of Zhang, Neubig and Yue 2025 (2512.07783), section 5, where alpha is 1,
0.5 or 0.2; dense as in the first phase of DELTA (2509.21016), which pays the share of a program's passed tests.
Departures: superfluous steps cost nothing (the released code of 2512.07783 counts them, and sets a blend to 0
if the answer is wrong); shares of planning and of execution are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """Pay for the answer only if the whole process is right; alpha is not used then."""
    dense: bool = False
    """Pay the share of right steps whatever the answer; alpha is not used then."""
    of: Literal["process", "plan_score", "exec_score"] = "process"
    """Which column of the grades is the share: needed steps, planning choices, or executions."""


def process(config: ProcessConfig = ProcessConfig()) -> Reward:
    """The process reward with the given settings."""
    if not 0.0 <= config.alpha <= 1.0:
        raise UsageError(f"alpha is {config.alpha}, not between 0 and 1", fix="set it between 0 and 1")
    if config.strict and config.dense:
        raise UsageError("strict and dense exclude each other", fix="set one of them")
    return Reward(
        name="process",
        summary="right steps blended with a right answer, required for its reward, or rewarded alone",
        source="Zhang, Neubig and Yue 2025, arXiv 2512.07783, section 5",
        reward=lambda graded: process_reward(graded.grades, config),
        config=config,
    )


def process_reward(grades: Grades, config: ProcessConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN where ungraded.

    Raises:
        InputError: the grader does not read traces, so there is no process to reward.
    """
    steps = grades.columns.get(config.of)
    if steps is None:
        raise InputError(
            f"the process reward needs a grader that reads traces; this one gives no column {config.of!r}",
            fix="use the outcome reward, or a world's problems",
        )
    # A share with denominator 0 is undefined; in a trace that was read, it means that nothing is right.
    steps = np.where(np.isnan(grades.outcome), np.nan, np.nan_to_num(steps, nan=0.0))
    if config.dense:
        return steps.astype(np.float32)
    if config.strict:
        whole = np.where(np.isnan(steps), np.nan, steps >= 1.0)
        return (grades.outcome * whole).astype(np.float32)
    return (config.alpha * grades.outcome + (1 - config.alpha) * steps).astype(np.float32)
