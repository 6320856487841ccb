"""Clip-Cov: a few random tokens of high covariance between credit and log-probability learn nothing.

Formula, with ``A_i`` as in GRPO, ``c`` the covariance of a token (``keyturn.objectives.covariance``) and ``n``
the generated tokens of the batch (``[row, token]``)::

    C    = tokens with bound_low < c < bound_high
    D    = max(1, floor(share * n)) tokens drawn uniformly from C, or all of C if it has fewer
    loss = - 1 / n * sum_t,i [not in D] min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

Denominator: tokens of the whole batch, dropped ones included.
Degenerate: if credit is equal everywhere, nothing is dropped. A small batch drops one token if any is in
bounds: a share of 2e-4 is one token of 5,000, so in smaller batches the share is larger than stated.
Known bias: stated in ``Objective.bias`` and proved by enumeration.
Source: Cui et al. 2025 (2505.22617), Clip-Cov, and its released code for the bounds. Departures: tokens are
chosen once, before the first update of the rollout (theirs: in each micro-batch, and never among tokens that
the clip range has switched off by then).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Bool

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.covariance import covariance
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.grpo import loss as clipped_loss
from keyturn.objectives.placebo import scores


@dataclass(frozen=True, kw_only=True)
class ClipCovConfig:
    """Settings of Clip-Cov."""

    share: float = 2e-4
    """Share of dropped tokens in the batch (2505.22617)."""
    bound_low: float = 1.0
    """Lower bound on the covariance of dropped tokens, in credit times nats (released code)."""
    bound_high: float = 5.0
    """Upper bound on the covariance of dropped tokens, in credit times nats (released code)."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2402.03300)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2402.03300)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def clip_cov(config: ClipCovConfig = ClipCovConfig()) -> Objective:
    """Clip-Cov with the given settings."""
    if not 0 <= config.share <= 1 or not config.bound_low < config.bound_high:
        raise UsageError(
            f"a share of {config.share} between {config.bound_low} and {config.bound_high}",
            fix="a share from 0 to 1, and bound_low below bound_high",
        )
    inner = GrpoConfig(
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        std_epsilon=config.std_epsilon,
        aggregation="token-mean",
    )
    return Objective(
        name="clip_cov",
        summary="GRPO in which a few random tokens of high covariance learn nothing",
        source="Cui et al. 2025, arXiv 2505.22617, Clip-Cov",
        bias=(
            "A batch's gradient, on average over the choice, is that of GRPO with a token mean where each "
            "token whose covariance is in bounds counts 1 - min(1, max(1, floor(share n)) / |C|), n tokens and "
            "|C| of them in bounds: likely tokens of good answers and unlikely ones of bad answers learn less, "
            "so the expected gradient is not parallel to that of the reward."
        ),
        credit=lambda batch: group_credit(batch, inner),
        mark=lambda batch: dropped(batch, config),
        loss=lambda policy, batch: loss(policy, batch, inner),
        no_op_when_single_update=SINGLE_UPDATE + " The dropped tokens matter at any number of updates.",
        invariants=frozenset(INVARIANTS),
        config=config,
    )


def dropped(batch: RolloutBatch, config: ClipCovConfig) -> Bool[torch.Tensor, "row token"]:
    """The tokens of the whole batch that learn nothing."""
    if not config.share:
        return torch.zeros_like(batch.mask)
    found = covariance(batch)
    inside = batch.mask & (found > config.bound_low) & (found < config.bound_high)
    count = min(int(inside.sum()), max(1, int(config.share * int(batch.mask.sum()))))
    if not count:
        return inside
    drawn = torch.where(inside, scores(batch, "clip-cov"), 1.0)
    return inside & (drawn <= drawn[inside].topk(count, largest=False).values[-1])


def loss(policy: PolicyTokens, batch: RolloutBatch, inner: GrpoConfig) -> tuple[Term, ...]:
    """GRPO's terms without the dropped tokens, and their share (reported, weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    assert batch.marked is not None, "marks come before loss"
    gone = batch.marked & (batch.credit != 0)
    left = torch.where(batch.marked, torch.zeros_like(batch.credit), batch.credit)
    share = aggregate("token-mean", gone.to(left.dtype), batch.mask, batch.max_new_tokens)
    return (
        *clipped_loss(policy, replace(batch, credit=left), inner),
        Term("dropped", *share, weight=0.0, credited=True),
    )
