"""And not: another reward, but never together with a strategy string.

Formula: ``r_i = inner_i`` if the strategy does not occur in completion ``i``, else ``otherwise``, ``[row]``.
Denominator: none; one number per completion.
Degenerate: an ungraded completion stays ungraded, with or without the string. ``otherwise`` must be the inner
reward's lowest value, or the string pays: 0 for a reward of 0 and 1.
Known bias: against the named strategy, as far as the string reveals it.
Source: the compound rewards of Shao et al. 2025 (2506.10947): a spurious reward AND not "python", which
prevents the rise of that strategy under the spurious reward and shows the rest of the gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rewards.contract import Graded, Reward, composed, rewards_of
from keyturn.rewards.outcome import outcome
from keyturn.rewards.strategy import shows
from keyturn.rewards.wording import compiled


@dataclass(frozen=True, kw_only=True)
class AndNotConfig:
    """Settings of the compound reward."""

    pattern: str = "python"
    """Regular expression that must not occur in the text (2506.10947); not used if ``named`` is set."""
    named: str = ""
    """Forbidden name in the column ``strategy``, instead of a pattern."""
    otherwise: float = 0.0
    """Reward if the strategy occurs, in units of reward (2506.10947)."""


def and_not(config: AndNotConfig = AndNotConfig(), inner: Reward | None = None) -> Reward:
    """Another reward (the outcome by default) if a strategy does not occur."""
    of = outcome() if inner is None else inner
    if not config.named:
        compiled(config.pattern, "pattern")
    return Reward(
        name="and_not",
        summary=f"another reward ({of.name}) if a strategy string does not occur, else 0",
        source="Shao et al. 2025, arXiv 2506.10947",
        reward=lambda graded: and_not_reward(graded, config, of),
        config=composed(config, of),
        blind=of.blind,
    )


def and_not_reward(graded: Graded, config: AndNotConfig, inner: Reward) -> NDArray[np.float32]:
    """The inner reward if the strategy does not occur, float32 ``[row]``."""
    given = rewards_of(inner, graded)
    given[shows(graded, config.pattern, config.named) & np.isfinite(given)] = config.otherwise
    return given
