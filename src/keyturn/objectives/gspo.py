"""GSPO: a sequence is clipped as a whole, by the geometric mean of its tokens' ratios.

Formula, for row ``i`` with ``T_i = sum_t m_it`` tokens and credit ``A`` as in GRPO (``[row, token]``)::

    s_i      = exp(1 / T_i * sum_t m_it (l_it - l_behaviour_it))                                    [row]
    sequence:  loss = - (1 / rows) sum_i min(s_i A_i, clip(s_i, 1 - clip_low, 1 + clip_high) A_i)
    token:     s_it = sg(s_i) * exp(l_it - sg(l_it))                                                [row, token]
               loss = - (1 / rows) sum_i 1 / T_i sum_t min(s_it A_it, clip(s_it, ...) A_it)

If a row's tokens share one credit, both forms have the same value and the same gradient. The token form also
accepts credit that differs within a row, of which the sequence form uses the mean.
Denominator: rows, those of silent groups included.
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0; a row without tokens has ratio 1.
Known bias: that of GRPO, whose gradient at ratio 1 is this one's (stated in ``Objective.bias``).
Source: Zheng et al. 2025 (2507.18071), equations 5 to 7 (sequence), 13 and 14 (token). Departures: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float

from keyturn.core.errors import unknown
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import BIAS, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.surrogate import Clipped, clipped


@dataclass(frozen=True, kw_only=True)
class GspoConfig:
    """Settings of GSPO."""

    form: Literal["sequence", "token"] = "sequence"
    """One ratio and one credit per row, or the row's ratio with one credit per token (2507.18071, section
    4.3)."""
    clip_low: float = 3e-4
    """Lower clip range of the row's ratio (2507.18071, section 5.1)."""
    clip_high: float = 4e-4
    """Upper clip range of the row's ratio (2507.18071, section 5.1)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def gspo(config: GspoConfig = GspoConfig()) -> Objective:
    """GSPO with the given settings."""
    if config.form not in _FORMS:
        raise unknown("form of GSPO", config.form, _FORMS)
    group = GrpoConfig(std_epsilon=config.std_epsilon)
    return Objective(
        name="gspo",
        summary="GRPO with one importance ratio per row, clipped as a whole",
        source="Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7",
        bias=f"GRPO's, since at ratio 1 the gradients are equal. {BIAS['std']}",
        credit=lambda batch: group_credit(batch, group),
        loss=lambda policy, batch: loss(policy, batch, config),
        no_op_when_single_update="clip_low and clip_high have no effect, and the row's ratio is 1: it is GRPO.",
        invariants=frozenset(INVARIANTS),
        config=config,
    )


def loss(policy: PolicyTokens, batch: RolloutBatch, config: GspoConfig) -> tuple[Term, ...]:
    """The clipped surrogate of rows, and the clipped shares (reported, weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    # Masked before the exponential: padding may hold anything, and 0 * inf would reach the gradient.
    gap = torch.where(batch.mask, policy.logprobs - batch.behaviour_logprobs, 0.0)
    return _FORMS[config.form](gap, batch.credit, batch, config)


def _of_rows(
    gap: Float[torch.Tensor, "row token"],
    credit: Float[torch.Tensor, "row token"],
    batch: RolloutBatch,
    config: GspoConfig,
) -> tuple[Term, ...]:
    tokens = batch.mask.sum(1).clamp(min=1)
    surrogate = clipped(
        torch.exp(gap.sum(1) / tokens), credit.sum(1) / tokens, config.clip_low, config.clip_high
    )
    rows = float(len(gap))
    return _terms(surrogate, lambda values: (values.sum(), rows))


def _of_tokens(
    gap: Float[torch.Tensor, "row token"],
    credit: Float[torch.Tensor, "row token"],
    batch: RolloutBatch,
    config: GspoConfig,
) -> tuple[Term, ...]:
    mean = gap.detach().sum(1) / batch.mask.sum(1).clamp(min=1)
    ratio = torch.exp(mean)[:, None] * torch.exp(gap - gap.detach())
    surrogate = clipped(ratio, credit, config.clip_low, config.clip_high)
    return _terms(
        surrogate,
        lambda values: aggregate("seq-mean-token-mean", values, batch.mask, batch.max_new_tokens),
    )


def _terms(surrogate: Clipped, summed) -> tuple[Term, ...]:
    return (
        Term("policy", *summed(-surrogate.value), credited=True),
        Term("clipped_high", *summed(surrogate.high), weight=0.0, credited=True),
        Term("clipped_low", *summed(surrogate.low), weight=0.0, credited=True),
    )


_FORMS = {"sequence": _of_rows, "token": _of_tokens}
