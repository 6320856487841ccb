"""REINFORCE: every token's credit is the reward of its row minus a baseline.

Formula, for row ``i`` (``[row]``)::

    A_i  = r_i - b,   b = 0 | mean of the batch's rewards | mean of the group's
    loss = - agg_t,i (A_i * l_it) + kl_weight * agg_t,i k(l - l_ref)

Denominator: of ``aggregation`` (default: rows; the sum over tokens is the log-probability of the sequence).
Degenerate: with a baseline, equal rewards give credit exactly 0. With none, zero rewards do.
Known bias: a mean that contains the row's own reward scales the gradient down (see ``Objective.bias``).
Source: Williams 1992, equation 2. Departure: there is no importance ratio, so use one update per rollout;
further updates treat the rollout as if it had just been drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float

from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation, aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.groups import group_mean, silent
from keyturn.objectives.kl import KlKind, kl_terms, reference_needed


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """Settings of REINFORCE."""

    baseline: Literal["none", "batch", "group"] = "batch"
    """Baseline that is subtracted from a reward: none, the batch's mean, or the mean of the prompt's draws."""
    aggregation: Aggregation = "seq-mean-token-sum"
    """How tokens are summed, and the denominator; the default is the sequence's log-probability."""
    kl_weight: float = 0.0
    """Weight of the penalty towards the reference in the loss, per nat."""
    kl_kind: KlKind = "k2"
    """Sample of the KL; in a loss, the gradient of k2 is that of KL(policy || reference)."""


_BIAS = {
    "none": "None: the expected gradient is exactly that of the expected reward (and its variance is large).",
    "batch": "The expected gradient is (1 - 1/rows) times the true one: the mean contains the row itself.",
    "group": "The expected gradient is (1 - 1/G) times the true one: the mean contains the row itself.",
}

_INVARIANTS = {
    "none": frozenset({"own group", "row order"}),
    "batch": frozenset({"equal rewards", "shift", "row order"}),
    "group": frozenset(INVARIANTS),
}


def reinforce(config: ReinforceConfig = ReinforceConfig()) -> Objective:
    """REINFORCE with the given settings."""
    return Objective(
        name="reinforce",
        summary="plain policy gradient without a baseline, or with a batch or group baseline",
        source="Williams 1992, Machine Learning 8, equation 2",
        bias=_BIAS[config.baseline],
        needs=reference_needed(config.kl_weight),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: loss(policy, batch, config),
        invariants=_INVARIANTS[config.baseline],
        config=config,
    )


def credit(batch: RolloutBatch, config: ReinforceConfig) -> Float[torch.Tensor, "row token"]:
    """Reward minus the baseline on every generated token, ``[row, token]``."""
    rewards = batch.rewards
    if config.baseline == "none":
        return rewards[:, None] * batch.mask
    group = batch.group if config.baseline == "group" else torch.zeros_like(batch.group)
    centred = rewards - group_mean(rewards, group)
    centred = torch.where(silent(rewards, group), torch.zeros_like(centred), centred)
    return centred[:, None] * batch.mask


def loss(policy: PolicyTokens, batch: RolloutBatch, config: ReinforceConfig) -> tuple[Term, ...]:
    """Credit times log-probability, and the penalty if it is on."""
    assert batch.credit is not None, "credit comes before loss"
    pushed = -batch.credit * policy.logprobs
    how = config.aggregation
    total, denominator = aggregate(how, pushed, batch.mask, batch.max_new_tokens)
    return (
        Term("policy", total, denominator, credited=True),
        *kl_terms(policy, batch, weight=config.kl_weight, kind=config.kl_kind, aggregation=how),
    )
