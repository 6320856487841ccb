"""Mode priced: a right answer is worth more in the short mode than in the thinking mode; a wrong one costs the
same.

Formula, where the first token or the beginning of the text gives the mode of completion ``i`` (``[row]``)::

    r_i = 1            right and short
          1 - gamma    right and thinking
          wrong        wrong, or right in neither mode

Denominator: none; one number per completion.
Degenerate: an ungraded completion has reward NaN, in either mode.
Known bias: thinking pays if it raises the probability of being right enough: with probabilities ``s`` and ``t``
of the short and the thinking mode and ``wrong`` -1, if ``t (2 - gamma) > 2 s``.
Source: Fang et al. 2025, Thinkless (2505.13379); ``gamma`` 0.5 in the released script. Departure: a completion
in neither mode is paid as wrong, while the released code has a separate reward for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class ModePricedConfig:
    """Settings of the mode-priced reward."""

    short: str = "<short>"
    """Beginning of texts in the short mode, ignoring white space (2505.13379)."""
    think: str = "<think>"
    """Beginning of texts in the thinking mode, ignoring white space (2505.13379)."""
    short_token: int = -1
    """Id of the first token of the short mode, if texts do not show it; -1 means by the text."""
    think_token: int = -1
    """Id of the first token of the thinking mode, if texts do not show it; -1 means by the text."""
    gamma: float = 0.5
    """Price of thinking, in units of reward (released script of 2505.13379)."""
    wrong: float = -1.0
    """Reward of a wrong answer (2505.13379)."""


def mode_priced(config: ModePricedConfig = ModePricedConfig()) -> Reward:
    """The mode-priced reward with the given settings."""
    if not config.short or not config.think or config.short == config.think:
        raise UsageError(
            f"short is {config.short!r} and think {config.think!r}", fix="name two different beginnings"
        )
    if (config.short_token < 0) != (config.think_token < 0):
        raise UsageError(
            "one mode is recognised by a token and the other by text", fix="set both token ids or neither"
        )
    return Reward(
        name="mode_priced",
        summary="1 right and short, 1 - gamma right after thinking, -1 wrong",
        source="Fang et al. 2025, Thinkless, arXiv 2505.13379",
        reward=lambda graded: mode_priced_reward(graded, config),
        config=config,
    )


def modes_of(drawn: Completions, config: ModePricedConfig) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which completions are in the short mode and which in the thinking mode, bool ``[row]`` each."""
    if config.short_token >= 0:
        some = drawn.lengths > 0
        first = np.full(len(drawn), -1, dtype=np.int64)
        first[some] = drawn.tokens[drawn.offsets[:-1][some]]
        return first == config.short_token, first == config.think_token
    begins = [text.lstrip() for text in drawn.texts]
    short = np.array([text.startswith(config.short) for text in begins], dtype=bool)
    return short, np.array([text.startswith(config.think) for text in begins], dtype=bool)


def mode_priced_reward(graded: Graded, config: ModePricedConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN where ungraded."""
    short, think = modes_of(graded.completions, config)
    outcome = graded.grades.outcome
    right = np.where(short, 1.0, np.where(think, 1.0 - config.gamma, config.wrong))
    value = np.where(outcome == 1, right, config.wrong)
    return np.where(np.isnan(outcome), np.nan, value).astype(np.float32)
