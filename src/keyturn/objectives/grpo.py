"""GRPO: a draw is as good as it beats the other draws of its prompt, in standard deviations of the group.

Formula, for row ``i`` of group ``g`` with reward ``r_i`` and mask ``m`` (``[row, token]``)::

    A_i  = (r_i - mean_g r) / (std_g r + std_epsilon)              [row], std with n - 1
    loss = - agg_t,i min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A) + kl_weight * agg_t,i k3

with ``ratio = exp(l - l_behaviour)``, ``k3 = exp(l_ref - l) - (l_ref - l) - 1``.
Denominator: of ``aggregation`` (default: every row's mean over its tokens, then the mean over all rows, those
of silent groups included).
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0; it counts in the denominator.
Known bias: stated in ``Objective.bias`` and proved by enumeration in the tests. With ``scale="none"`` the
group mean contains the row's own reward, which shortens the gradient by ``1 - 1/G``.
Source: Shao et al. 2024 (2402.03300), equations 3 and 4; Dr. GRPO (Liu et al. 2025, 2503.20783) is
``scale="none", aggregation="seq-mean-token-sum-norm"``; clip-higher is DAPO's (Yu et al. 2025, 2503.14476).
Departures: the reference penalty is off by default (as in DAPO and Dr. GRPO).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from keyturn.objectives.aggregation import Aggregation, aggregate
from keyturn.objectives.contract import KEEPS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.groups import group_mean, group_std, silent
from keyturn.objectives.surrogate import clipped, k3


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """Settings of GRPO."""

    clip_low: float = 0.2
    """Lower clip range of the ratio (2402.03300)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio; DAPO's clip-higher is 0.28."""
    scale: Literal["std", "none"] = "std"
    """Divide by the group's standard deviation, or not (Dr. GRPO)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""
    aggregation: Aggregation = "seq-mean-token-mean"
    """How tokens are summed and what by they are divided (2402.03300, eq. 3)."""
    kl_weight: float = 0.0
    """Weight of the k3 penalty towards the reference, per nat; the paper's 0.04 is off as in DAPO."""


def grpo(config: GrpoConfig = GrpoConfig()) -> Objective:
    """GRPO with the given settings."""
    return Objective(
        name="grpo",
        summary="clipped policy gradient on rewards standardised within the draws of each prompt",
        source="Shao et al. 2024, arXiv 2402.03300, equations 3 and 4",
        bias=_BIAS[config.scale],
        needs=frozenset({"reference_logprobs"}) if config.kl_weight else frozenset(),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: loss(policy, batch, config),
        keeps=frozenset(KEEPS),
        config=config,
    )


_BIAS = {
    "std": (
        "With 0/1 rewards and equal lengths the expected gradient is w_G(p) times that of the success "
        "probability p, w_G(p) = E[v / (sqrt(v G / (G - 1)) + std_epsilon)] / (p (1 - p)), v = (c/G)(1 - c/G), "
        "c ~ Binomial(G, p): very easy and very hard prompts are over-weighted; the token mean adds a factor "
        "1/T that spares long wrong answers."
    ),
    "none": (
        "The expected gradient is (1 - 1/G) times the true one, because the group mean contains the row's own "
        "reward; aggregations with a token mean add a factor 1/T that spares long wrong answers."
    ),
}


def credit(batch: RolloutBatch, config: GrpoConfig) -> Float[Tensor, "row token"]:
    """Group-standardised rewards on every generated token, ``[row, token]``; exactly 0 in silent groups."""
    centred = batch.rewards - group_mean(batch.rewards, batch.group)
    if config.scale == "std":
        centred = centred / (group_std(batch.rewards, batch.group) + config.std_epsilon)
    # Equal rewards do not always equal their rounded mean; divided by a tiny deviation that would be noise.
    centred = torch.where(silent(batch.rewards, batch.group), torch.zeros_like(centred), centred)
    return centred[:, None] * batch.mask


def loss(policy: PolicyTokens, batch: RolloutBatch, config: GrpoConfig) -> tuple[Term, ...]:
    """The clipped surrogate, the penalty where it is on, and the clipped shares (reported, weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    # Masked before the exponential: padding may hold anything, and 0 * inf would reach the gradient.
    gap = torch.where(batch.mask, policy.logprobs - batch.behaviour_logprobs, 0.0)
    ratio = torch.exp(gap)
    surrogate = clipped(ratio, batch.credit, config.clip_low, config.clip_high)
    limit = batch.max_new_tokens
    terms = [Term("policy", *aggregate(config.aggregation, -surrogate.value, batch.mask, limit), credited=True)]
    for name, share in (("clipped_high", surrogate.high), ("clipped_low", surrogate.low)):
        terms.append(Term(name, *aggregate("token-mean", share, batch.mask, limit), weight=0.0, credited=True))
    if config.kl_weight:
        assert batch.reference_logprobs is not None, "the penalty needs reference log-probabilities"
        penalty = k3(torch.where(batch.mask, policy.logprobs - batch.reference_logprobs, 0.0))
        terms.append(
            Term("kl", *aggregate(config.aggregation, penalty, batch.mask, limit), weight=config.kl_weight)
        )
    return tuple(terms)
