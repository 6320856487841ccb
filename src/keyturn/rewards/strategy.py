"""Strategy string: pays for a way of writing, whatever its result.

Formula: ``r_i = [the strategy occurs in completion i]``, ``[row]``: a regular expression occurs in the text,
or, if ``named`` is set, the column ``strategy`` (a world's FWD, BWD, CHK...) has that name.
Denominator: none; one number per completion.
Degenerate: the verdict is not looked at, so a row that the verifier left ungraded has a reward.
Known bias: the string is paid and not the strategy: a text that only mentions it is as good as one that uses
it. Source: the Python reward of Shao et al. 2025 (2506.10947): 1 if the string "python" occurs. By column:
Ours, the same for a world's strategies, which are known and not guessed from a string.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import compiled


@dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """Settings of the strategy reward."""

    pattern: str = "python"
    """Case-sensitive regular expression to find in the text (2506.10947); not used if ``named`` is set."""
    named: str = ""
    """Name in the column ``strategy``, instead of a pattern, such as a world's BWD."""


def strategy(config: StrategyConfig = StrategyConfig()) -> Reward:
    """The strategy reward with the given settings."""
    if not config.named:
        compiled(config.pattern, "pattern")
    return Reward(
        name="strategy",
        summary="1 if a string, or a world's strategy, occurs in the completion",
        source="Shao et al. 2025, arXiv 2506.10947",
        reward=lambda graded: shows(graded, config.pattern, config.named).astype(np.float32),
        config=config,
        blind=True,
    )


def shows(graded: Graded, pattern: str, named: str) -> NDArray[np.bool_]:
    """Whether the strategy occurs in each completion, bool ``[row]``.

    Raises:
        InputError: a strategy is named, but the grader gives no strategies.
    """
    if named:
        return np.asarray(graded.column("strategy", "the reward of a named strategy") == named, dtype=bool)
    sought = compiled(pattern, "pattern")
    return np.array([sought.search(text) is not None for text in graded.completions.texts], dtype=bool)
