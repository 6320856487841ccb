"""Rarity: a valid answer is worth the more, the fewer of the other draws of the prompt gave it.

Formula, with ``v_i`` the outcome, ``c_i`` how many valid draws of the group are the same as row ``i`` (itself
included) and ``n_g`` the graded draws of the group (``[row]``)::

    r_i = v_i * (alpha + (1 - alpha) * (1 - c_i / n_g))

Denominator: ``n_g``, the graded draws of the group, valid or not.
Degenerate: an ungraded completion has reward NaN and counts in neither; invalid has 0. A group of one valid
draw has ``alpha``. Without a column of canonical forms two answers are the same as ``keyturn.rewards.wording``
says.
Known bias: the reward of a row depends on its neighbours, so what is raised is the variety of the *group*: a
uniform policy over few answers is paid like one over many once the group is small. With ``alpha`` 0 a group
that agrees on one valid answer is paid nothing.
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
"""The column in which a constructive domain says what an answer is up to renaming and order."""


@dataclass(frozen=True, kw_only=True)
class RarityConfig:
    """Settings of the rarity reward."""

    alpha: float = 0.5
    """Share of the reward that validity alone has, 0 to 1 (ours)."""
    column: str = CANONICAL
    """Column of the grades by which two answers are the same; without ``canonical`` the extracted answer."""


def rarity(config: RarityConfig = RarityConfig()) -> Reward:
    """The rarity reward with the given settings."""
    if not 0.0 <= config.alpha <= 1.0:
        raise UsageError(f"alpha is {config.alpha}, not within 0 to 1", fix="set it between 0 and 1")
    return Reward(
        name="rarity",
        summary="a valid answer, worth the more the rarer it is among the draws of the prompt",
        source="Ours, after Nagarajan et al. 2025, arXiv 2504.15266",
        reward=lambda graded: rarity_reward(graded, config),
        config=config,
    )


def rarity_reward(graded: Graded, config: RarityConfig) -> NDArray[np.float32]:
    """One reward a completion, float32 ``[row]``; NaN where ungraded."""
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
