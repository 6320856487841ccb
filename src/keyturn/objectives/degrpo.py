"""DeGRPO: separate losses for whether to think and how to answer, so that long answers do not dominate the
choice.

Formula, with ``A_i = r_i - mean_g r``, ``S`` the clipped surrogate of a token, token 0 the control token and
``T_i`` the tokens after it (``[row, token]``)::

    sequence     loss = - alpha / n * sum_i S_i0  -  1 / n * sum_i 1 / T_i sum_{t >= 1} S_it
    token-mean   loss = - alpha / n * sum_i S_i0  -  1 / (sum_i T_i) * sum_i sum_{t >= 1} S_it
                 + kl_weight * the same two means of k, each over its own tokens, the first also times alpha

Denominator: ``n`` is the number of rows (with ``token-mean``, of rows that have a control token); the two terms
are divided separately.
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0. A row of one token adds nothing to
the second term but counts in ``n``.
Known bias: stated in ``Objective.bias`` and proved by enumeration.
Source: Fang et al. 2025 (2505.13379), the objective of DeGRPO with alpha 1/1000 and credit without a deviation;
``token-mean`` is what the released code does. Departures: the penalty towards the reference (k3, 0.001 there)
is off by default, and is split like the loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from keyturn.core.errors import UsageError, unknown
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.grpo import loss as clipped_loss
from keyturn.objectives.kl import KlKind, reference_needed
from keyturn.objectives.token_masks import first


@dataclass(frozen=True, kw_only=True)
class DegrpoConfig:
    """Settings of DeGRPO."""

    alpha: float = 1e-3
    """Weight of the control token's loss (2505.13379: 1/1000)."""
    normalisation: Literal["sequence", "token-mean"] = "sequence"
    """Answers: each row's mean, then the mean of rows (2505.13379), or the mean over tokens (released code)."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2505.13379)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2505.13379)."""
    kl_weight: float = 0.0
    """Weight of the penalty towards the reference, per nat (2505.13379: 0.001)."""
    kl_kind: KlKind = "k3"
    """Which sample of the KL is the penalty (2505.13379: k3)."""


def degrpo(config: DegrpoConfig = DegrpoConfig()) -> Objective:
    """DeGRPO with the given settings."""
    if config.normalisation not in AGGREGATIONS:
        raise unknown("normalisation", config.normalisation, AGGREGATIONS)
    if config.alpha < 0:
        raise UsageError(f"alpha is {config.alpha}", fix="take 0 or more")
    inner = GrpoConfig(
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        scale="none",
        aggregation=AGGREGATIONS[config.normalisation],
        kl_weight=config.kl_weight,
        kl_kind=config.kl_kind,
    )
    return Objective(
        name="degrpo",
        summary="mean-only GRPO with a separate loss for the control token",
        source="Fang et al. 2025, arXiv 2505.13379, the objective of DeGRPO",
        bias=(
            "The gradient of the control token is alpha (1 - 1/G) times the true one, whatever the lengths of "
            "answers; that of the rest is (1 - 1/G) times E[(r - E r) / T sum_{t >= 1} grad log pi], whose 1/T "
            "spares long wrong answers (with 'token-mean' 1/T is rows over the batch's answer tokens)."
        ),
        needs=reference_needed(config.kl_weight),
        credit=lambda batch: group_credit(batch, inner),
        loss=lambda policy, batch: loss(policy, batch, inner, config.alpha),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS),
        config=config,
    )


AGGREGATIONS: dict[str, Literal["seq-mean-token-mean", "token-mean"]] = {
    "sequence": "seq-mean-token-mean",
    "token-mean": "token-mean",
}
"""Normalisation -> how the tokens of each part are summed, and the denominator."""


def loss(policy: PolicyTokens, batch: RolloutBatch, inner: GrpoConfig, alpha: float) -> tuple[Term, ...]:
    """GRPO's terms of the control token, named ``control...`` and times alpha, and those of the answer."""
    control = first(batch)
    terms = [
        term._replace(
            name="control" if term.name == "policy" else f"control_{term.name}", weight=alpha * term.weight
        )
        for term in clipped_loss(policy, replace(batch, mask=control), inner)
    ]
    return (*terms, *clipped_loss(policy, replace(batch, mask=batch.mask & ~control), inner))
