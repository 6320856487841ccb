"""Majority: pays for the most frequent answer among the draws of the prompt, without any ground truth.

Formula, with ``a_i`` the extracted answer of row ``i`` and ``M_g`` the most frequent answers of its group::

    r_i = [a_i in M'_g]       [row],    M'_g = M_g                    with one most frequent answer
                                        {} | M_g | {one, drawn}       if several tie: none, all, drawn

``keyturn.rewards.wording`` decides whether two answers are equal.
Denominator: none; one number per completion. Shares do not matter, only which answer leads.
Degenerate: a completion without an answer does not vote and gets 0; if no row answers, all get 0. Rows that the
verifier left ungraded vote and are paid, since no truth is needed; rows without a completion do neither. If no
answer occurs twice, all answers tie.
Known bias: towards the policy's most frequent answer, right or wrong; the vote counts the row's own answer.
Source: Zuo et al. 2025, TTRL (2504.16084). Departures: the paper takes the first of tied answers in the batch,
which depends on the order of rows; here ties are explicit, and by default no tied answer is paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.rewards.contract import Graded, Reward
from keyturn.rewards.wording import form, modes


@dataclass(frozen=True, kw_only=True)
class MajorityConfig:
    """Settings of the majority reward."""

    ties: Literal["none", "all", "drawn"] = "none"
    """If several answers lead: pay none of them, all, or one drawn from the step's streams."""


def majority(config: MajorityConfig = MajorityConfig()) -> Reward:
    """The majority reward with the given settings."""
    if config.ties not in ("none", "all", "drawn"):
        raise UsageError(f"ties is {config.ties!r}", fix="take 'none', 'all' or 'drawn'")
    return Reward(
        name="majority",
        summary="1 for the most frequent answer among the draws of the prompt",
        source="Zuo et al. 2025, TTRL, arXiv 2504.16084",
        reward=lambda graded: majority_reward(graded, config),
        config=config,
        blind=True,
    )


def majority_reward(graded: Graded, config: MajorityConfig) -> NDArray[np.float32]:
    """Agreement with the vote of the group, float32 ``[row]``."""
    forms = [
        "" if silent else form(answer)
        for answer, silent in zip(graded.grades.answer, graded.silent.tolist(), strict=True)
    ]
    paid = np.zeros(len(graded), dtype=np.float32)
    for problem, rows in graded.groups():
        leading = modes(forms[row] for row in rows)
        if len(leading) > 1 and config.ties == "none":
            continue
        if len(leading) > 1 and config.ties == "drawn":
            leading = [str(graded.streams.generator("majority", problem.id).choice(leading))]
        paid[rows] = [forms[row] in leading for row in rows]
    return paid
