"""CISPO: no token's gradient is switched off; only the importance ratio is capped.

Formula, with credit ``A`` as in GRPO (``[row, token]``) and ``sg`` for stop-gradient::

    loss = - 1 / (sum_t,i m) * sum_t,i m sg(clip(ratio, cap_low, cap_high)) A l

with ``ratio = exp(l - l_behaviour)``. The caps are bounds on the ratio itself. TRL has
``cap_high = epsilon_high`` (5, say) and no lower one; verl has
``cap_low = 1 - clip_ratio_low, cap_high = 1 + clip_ratio_high``.
Denominator: tokens of the whole batch, those of silent groups included.
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0; it counts in the denominator. With
one update per rollout the ratio is 1 and the caps have no effect.
Known bias: stated in ``Objective.bias``; a cap above 1 understates tokens that became much likelier since the
draw. The value of the loss is not an estimate; only its gradient has a meaning.
Source: MiniMax-M1 (2506.13585), equations 4 and 5. Departures: none; there the lower bound has no effect and
only the upper one is tuned, whose value is not given (TRL recommends 5, after ScaleRL, 2510.13786).
"""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import GrpoConfig
from keyturn.objectives.grpo import credit as group_credit


@dataclass(frozen=True, kw_only=True)
class CispoConfig:
    """Settings of CISPO."""

    cap_low: float = 0.0
    """Lower cap of the ratio; 0 means none, as in TRL; 1 - 0.2 in verl."""
    cap_high: float = 5.0
    """Upper cap of the ratio (TRL's recommendation); 1 + 0.2 in verl."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def cispo(config: CispoConfig = CispoConfig()) -> Objective:
    """CISPO with the given settings."""
    if not 0 <= config.cap_low <= 1 <= config.cap_high:
        raise UsageError(
            f"caps of {config.cap_low} and {config.cap_high} on a ratio that begins at 1",
            fix="cap_low from 0 to 1, cap_high from 1 up",
        )
    group = GrpoConfig(std_epsilon=config.std_epsilon)
    return Objective(
        name="cispo",
        summary="policy gradient with a capped importance ratio that never switches a token off",
        source="MiniMax 2025, arXiv 2506.13585, equations 4 and 5",
        bias=(
            "At ratio 1 a batch's gradient is sum_i A_i grad log pi(o_i) divided by the batch's number of "
            "tokens, A_i as in GRPO: with equal lengths GRPO's w_G(p) / T times the true one; else a batch of "
            "short rows has more weight per token."
        ),
        credit=lambda batch: group_credit(batch, group),
        loss=lambda policy, batch: loss(policy, batch, config),
        no_op_when_single_update=(
            "cap_low and cap_high have no effect: the ratio is 1 wherever a gradient is taken."
        ),
        invariants=frozenset(INVARIANTS),
        config=config,
    )


def loss(policy: PolicyTokens, batch: RolloutBatch, config: CispoConfig) -> tuple[Term, ...]:
    """Capped ratio times credit times log-probability, and the capped shares (reported, weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    logprobs = torch.where(batch.mask, policy.logprobs, 0.0)
    gap = logprobs.detach() - torch.where(batch.mask, batch.behaviour_logprobs, 0.0)
    ratio = torch.exp(gap)
    pushed = -ratio.clamp(config.cap_low, config.cap_high) * batch.credit * logprobs
    counted = batch.credit != 0
    shares = {
        "capped_high": counted & (ratio > config.cap_high),
        "capped_low": counted & (ratio < config.cap_low),
    }
    limit = batch.max_new_tokens
    return (
        Term("policy", *aggregate("token-mean", pushed, batch.mask, limit), credited=True),
        *(
            Term(
                name,
                *aggregate("token-mean", share.to(gap.dtype), batch.mask, limit),
                weight=0.0,
                credited=True,
            )
            for name, share in shares.items()
        ),
    )
