"""Shuffled: another reward's values, permuted among the draws of each prompt.

Formula, for group ``g`` with rows in the order of their draws and a permutation ``pi_g`` from the stream
``(step's streams, "shuffled", problem id)``, uniform over all of them::

    r_i = inner_{pi_g(i)}        [row]

The group keeps its multiset of rewards, so group statistics, silent groups and the size of the credit are those
of the inner reward; only the link between a completion and its reward is cut. A random reward is a weaker
control, since it also changes how often a group has any signal.
Denominator: none; one number per completion.
Degenerate: ungraded rows stay ungraded and are not permuted. A group of one, or of equal rewards, is unchanged.
Known bias: none towards the inner reward: over permutations its covariance with anything about the row, within
the group, is exactly 0 (a single permutation may be the identity, with probability 1/n!).
Source: Ours, after the shuffled-label control of Zhang et al. 2017 (1611.03530).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rewards.contract import Graded, Reward, composed, rewards_of
from keyturn.rewards.outcome import outcome


@dataclass(frozen=True, kw_only=True)
class ShuffledConfig:
    """The shuffled reward has no settings."""


def shuffled(config: ShuffledConfig = ShuffledConfig(), inner: Reward | None = None) -> Reward:
    """Another reward (the outcome by default), permuted within each group."""
    of = outcome() if inner is None else inner
    return Reward(
        name="shuffled",
        summary=f"the values of another reward ({of.name}), permuted among the draws of each prompt",
        source="Ours",
        reward=lambda graded: shuffled_reward(graded, of),
        config=composed(config, of),
        blind=of.blind,
    )


def shuffled_reward(graded: Graded, inner: Reward) -> NDArray[np.float32]:
    """The inner rewards, permuted within each group, float32 ``[row]``."""
    given = rewards_of(inner, graded)
    dealt = given.copy()
    for problem, rows in graded.groups():
        rows = rows[np.isfinite(given[rows])]
        permutation = graded.streams.generator("shuffled", problem.id).permutation(len(rows))
        dealt[rows] = given[rows[permutation]]
    return dealt
