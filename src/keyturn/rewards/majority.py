"""Majority: paid for agreeing with most of the other draws of the prompt; no truth is looked at.

Formula, with ``a_i`` the extracted answer of row ``i`` and ``M_g`` the most frequent answers of its group::

    r_i = [a_i in M'_g]       [row],    M'_g = M_g                    with one most frequent answer
                                        {} | M_g | {one, drawn}       where several tie: none, all, drawn

Two answers are the same as ``keyturn.rewards.wording`` says.
Denominator: none; one number a completion. Shares do not matter, only which answer leads.
Degenerate: a completion without an answer does not vote and has 0; where nobody answers all have 0. Rows that
the verifier left ungraded vote and are paid, since no truth is needed; rows where the policy gave nothing do
neither. With no answer given twice all answers tie.
Known bias: towards what the policy says most, right or wrong; the vote counts the row's own answer.
Source: Zuo et al. 2025, TTRL (2504.16084). Departures: they take whichever of tied answers comes first in the
batch, which depends on the order of rows; here ties are stated, and none is paid by default.
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
    """Where several answers lead: nobody is paid, all of them, or one by lot from the step's streams."""


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
