"""RLOO: REINFORCE on whole sequences, with the mean of a draw's *siblings* as its baseline.

Formula, for row ``i`` of a group of ``G`` draws (``[row]``)::

    s_i  = r_i - kl_weight * sum_t k(l_sampled - l_reference)      k of kl_kind, see keyturn.objectives.kl
    A_i  = s_i - mean_{j != i} s_j = G / (G - 1) * (s_i - mean_g s)
    loss = - (1 / rows) sum_i min(R_i A_i, clip(R_i, 1 - clip_low, 1 + clip_high) A_i)

with the sequence ratio ``R_i = exp(sum_t m_it (l_it - l_behaviour_it))``.
Denominator: rows, those of silent groups included. Lengths do not enter, so none is favoured.
Degenerate: a draw without siblings has credit 0. A long row's ratio can overflow only if a single update
moved the sequence by hundreds of nats; it is clipped then.
Known bias: none at the first update of a rollout.
Source: Ahmadian et al. 2024 (2402.14740), equation 6; Kool et al. 2019. Departures: the penalty towards the
reference (0.03 to 0.05 there) is off by default; the sequence ratio and its clipping, which the paper does
not have, follow TRL and matter only after the first update.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float

from keyturn.core.lazy import torch
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.groups import mean_of_others, silent
from keyturn.objectives.kl import KlKind, reference_needed, shaped_rewards
from keyturn.objectives.surrogate import clipped


@dataclass(frozen=True, kw_only=True)
class RlooConfig:
    """Settings of leave-one-out REINFORCE."""

    clip_low: float = 0.2
    """Lower clip range of the sequence ratio (TRL's default)."""
    clip_high: float = 0.2
    """Upper clip range of the sequence ratio (TRL's default)."""
    kl_weight: float = 0.0
    """Weight of the row's summed sample of the KL to the reference in the reward, per nat."""
    kl_kind: KlKind = "k1"
    """Sample of the KL (2402.14740: k1); in a reward, the gradient of k1 is that of KL(policy || reference)."""


def rloo(config: RlooConfig = RlooConfig()) -> Objective:
    """Leave-one-out REINFORCE with the given settings."""
    return Objective(
        name="rloo",
        summary="sequence-level REINFORCE with the mean of the other draws as baseline",
        source="Ahmadian et al. 2024, arXiv 2402.14740, equation 6",
        bias=(
            "None at the first update of a rollout: the expected gradient is exactly that of the expected "
            "reward (with k1 minus kl_weight times the KL to the reference, whose own gradient through the "
            "log-ratio vanishes in expectation)."
        ),
        needs=reference_needed(config.kl_weight),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: loss(policy, batch, config),
        no_op_when_single_update=(
            "clip_low and clip_high have no effect: the ratio is 1 wherever a gradient is taken."
        ),
        invariants=frozenset(INVARIANTS) - ({"equal rewards", "silent groups"} if config.kl_weight else set()),
        config=config,
    )


def credit(batch: RolloutBatch, config: RlooConfig) -> Float[torch.Tensor, "row token"]:
    """Reward minus the mean of the siblings' on every generated token, ``[row, token]``."""
    score = shaped_rewards(batch, weight=config.kl_weight, kind=config.kl_kind)
    centred = score - mean_of_others(score, batch.group)
    centred = torch.where(silent(score, batch.group), torch.zeros_like(centred), centred)
    return centred[:, None] * batch.mask


def loss(policy: PolicyTokens, batch: RolloutBatch, config: RlooConfig) -> tuple[Term, ...]:
    """The clipped sequence surrogate and the clipped shares of rows (reported, weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    gap = torch.where(batch.mask, policy.logprobs - batch.behaviour_logprobs, 0.0).sum(1)
    # All tokens of a row have the row's credit, so it is read from the first.
    row_credit = torch.zeros_like(gap)
    if batch.mask.shape[1]:
        row_credit = batch.credit.gather(1, batch.mask.int().argmax(1, keepdim=True))[:, 0]
    surrogate = clipped(torch.exp(gap), row_credit, config.clip_low, config.clip_high)
    rows = float(len(gap))
    return (
        Term("policy", -surrogate.value.sum(), rows, credited=True),
        Term("clipped_high", surrogate.high.sum(), rows, weight=0.0, credited=True),
        Term("clipped_low", surrogate.low.sum(), rows, weight=0.0, credited=True),
    )
