"""Rarity: the fewer other draws of the prompt give a valid answer, the more it is worth.

Formula, with ``v_i`` the outcome, ``c_i`` the number of valid draws in the group with the same answer as row
``i`` (itself included) and ``n_g`` the number of graded draws of the group (``[row]``)::

    r_i = v_i * (alpha + (1 - alpha) * (1 - c_i / n_g))

Denominator: ``n_g``, the graded draws of the group, valid or not.
Degenerate: an ungraded completion has reward NaN and counts in neither number; an invalid one gets 0. A group
of one valid draw gets ``alpha``. Without a column of canonical forms, ``keyturn.rewards.wording`` decides
whether two answers are equal.
Known bias: the reward of a row depends on the other rows, so it raises the variety of the *group*: if the group
is small, a uniform policy over few answers is paid like one over many. With ``alpha`` 0 a group that agrees on
one valid answer gets nothing.
Source: Ours (the creative domain of the controlled world), after the creativity score of Nagarajan et al. 2025
(2504.15266), which counts samples that are valid and distinct.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import form

CANONICAL = "canonical"
"""The column with a constructive domain's canonical form of an answer, up to renaming and order."""


@dataclass(frozen=True, kw_only=True)
class RarityConfig:
    """Settings of the rarity reward."""

    alpha: float = 0.5
    """Share of the reward for validity alone, 0 to 1 (ours)."""
    column: str = CANONICAL
    """Column of the grades that identifies equal answers; without ``canonical``, the extracted answer does."""


def rarity(config: RarityConfig = RarityConfig()) -> Reward:
    """The rarity reward with the given settings."""
    if not 0.0 <= config.alpha <= 1.0:
        raise UsageError(f"alpha is {config.alpha}, not between 0 and 1", fix="set it between 0 and 1")
    return Reward(
        name="rarity",
        summary="a valid answer is worth more, the rarer it is among the draws of the prompt",
        source="Ours, after Nagarajan et al. 2025, arXiv 2504.15266",
        reward=lambda graded: rarity_reward(graded, config),
        config=config,
    )


def rarity_reward(graded: Graded, config: RarityConfig) -> NDArray[np.float32]:
    """One reward per completion, float32 ``[row]``; NaN where ungraded."""
    valid = np.where(graded.silent, np.nan, graded.grades.outcome).astype(np.float64)
    forms = _forms(graded, config.column)
    rare = np.zeros(len(graded))
    for _, rows in graded.groups():
        known = rows[np.isfinite(valid[rows])].tolist()
        counts = Counter(forms[row] for row in known if valid[row] > 0)
        for row in known:
            rare[row] = 1.0 - counts[forms[row]] / len(known)
    return (valid * (config.alpha + (1.0 - config.alpha) * rare)).astype(np.float32)


def _forms(graded: Graded, column: str) -> list[str]:
    if column == CANONICAL and column not in graded.grades.columns:
        return [form(answer) for answer in graded.grades.answer]
    return [str(one) for one in graded.column(column, "the rarity reward")]
