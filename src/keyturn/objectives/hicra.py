"""HICRA: planning tokens get more credit than execution tokens; with variants that show the effect of the rule.

Formula, with ``A_i = r_i - mean_g r`` of row ``i`` in group ``g`` (``[row]``), the planning mask ``P`` inside
the generated tokens ``m`` (``[row, token]``)::

    paper       added_it = alpha |A_i| P_it
    symmetric   added_it = alpha  A_i  P_it
    centred     added_it = alpha (|A_i| - mean of |A_j| over the planning tokens (j, s) of g) P_it
    credit_it   = A_i m_it + added_it
    loss        = - agg_t,i min(ratio credit, clip(ratio, 1 - clip_low, 1 + clip_high) credit)

``centred`` subtracts from the paper's added credit its mean over the planning tokens of the prompt's draws, so
the added credit sums to 0 over these tokens. With ``mask="placebo"`` the spans of ``P`` are placed at random in
each row (``keyturn.objectives.placebo``); ``alpha=0`` is the baseline with which HICRA is compared.
Denominator: of ``aggregation`` (default: tokens of the whole batch).
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0. Without a planning token it is GRPO
with mean-only credit.
Known bias: stated in ``Objective.bias`` and proved by enumeration, also under a random reward. With a placebo
mask the same push goes to all tokens of rows that have planning tokens.
Source: Wang et al. 2025 (2509.03646), the rule ``A + alpha |A|`` with alpha 0.2 over mean-only credit and
clip-higher. Ours: ``symmetric``, ``centred`` and the placebo. Departures: the paper does not publish its clip
range and denominator; DAPO's (2503.14476) are used here. ``centred`` subtracts the mean from the added credit
alone, over tokens. Subtracting the group's mean from the whole credit, by class of token, would also change the
baseline's credit, because ``mean A`` over a class is not 0 if rows differ in their number of planning tokens;
with ``alpha=0`` it would no longer be the baseline. The drift, which comes from the added credit, vanishes in
both cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float

from keyturn.core.errors import UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation
from keyturn.objectives.contract import INVARIANTS, Objective, RolloutBatch
from keyturn.objectives.groups import group_mean
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.grpo import loss as clipped_loss
from keyturn.objectives.placebo import scattered
from keyturn.objectives.token_masks import planning


@dataclass(frozen=True, kw_only=True)
class HicraConfig:
    """Settings of HICRA."""

    alpha: float = 0.2
    """Share of the credit that is added on planning tokens (2509.03646: 0.2); 0 is the baseline."""
    rule: Literal["paper", "symmetric", "centred"] = "paper"
    """Added credit: alpha |A|, alpha A, or alpha |A| minus its mean over the prompt's planning tokens."""
    mask: Literal["roles", "placebo"] = "roles"
    """Planning tokens, or the same number at random places, in spans of the same lengths."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2503.14476)."""
    clip_high: float = 0.28
    """Upper clip range of the ratio: clip-higher (2503.14476; 2509.03646 has it, without a number)."""
    aggregation: Aggregation = "token-mean"
    """How tokens are summed, and the denominator (2503.14476)."""


def hicra(config: HicraConfig = HicraConfig()) -> Objective:
    """HICRA with the given settings."""
    if not 0 <= config.alpha < 1:
        raise UsageError(f"alpha is {config.alpha}", fix="take a number from 0 to below 1")
    for what, value, known in (("rule", config.rule, RULES), ("mask", config.mask, ("roles", "placebo"))):
        if value not in known:
            raise unknown(f"{what} of HICRA", value, known)
    surrogate = GrpoConfig(
        clip_low=config.clip_low, clip_high=config.clip_high, aggregation=config.aggregation, scale="none"
    )
    return Objective(
        name="hicra",
        summary="mean-only group credit with more of it on planning tokens",
        source="Wang et al. 2025, arXiv 2509.03646, section on HICRA",
        bias=RULES[config.rule],
        needs=frozenset({"roles"}),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: clipped_loss(policy, batch, surrogate),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS),
        config=config,
    )


RULES = {
    "paper": (
        "To (1 - 1/G) times the true gradient it adds alpha E[|A_i| sum_t P_it grad log pi(o_it)], an upward "
        "push on planning tokens that no reward can reverse: with rewards that do not depend on the draws it "
        "is alpha E|A_i| times the gradient of the probability of planning tokens in the drawn contexts (all "
        "with seq-mean-token-sum; other aggregations add their own factors)."
    ),
    "symmetric": (
        "To (1 - 1/G) times the true gradient it adds alpha E[A_i sum_t P_it grad log pi(o_it)]: planning "
        "tokens learn (1 + alpha) times as fast in both directions; the addition is 0 for rewards that do not "
        "depend on the draws (with seq-mean-token-sum; other aggregations add their own factors)."
    ),
    "centred": (
        "To (1 - 1/G) times the true gradient it adds alpha E[(|A_i| - its mean over the prompt's planning "
        "tokens) sum_t P_it grad log pi(o_it)]: planning tokens of the rarer outcome go up, those of the more "
        "common one down; the addition is 0 for rewards that do not depend on the draws (with "
        "seq-mean-token-sum; other aggregations add their own factors)."
    ),
}
"""The declared bias by ``rule``."""


def credit(batch: RolloutBatch, config: HicraConfig) -> Float[torch.Tensor, "row token"]:
    """Mean-only credit plus the added credit of planning tokens, ``[row, token]``; 0 in silent groups."""
    base = group_credit(batch, GrpoConfig(scale="none"))
    mask = planning(batch)
    if config.mask == "placebo":
        mask = scattered(batch, mask, "placebo")
    return base + config.alpha * added(config.rule, base, mask, batch)


def added(
    rule: str,
    base: Float[torch.Tensor, "row token"],
    mask: Bool[torch.Tensor, "row token"],
    batch: RolloutBatch,
) -> Float[torch.Tensor, "row token"]:
    """The credit that ``rule`` adds on the tokens of ``mask``, times alpha."""
    if rule == "symmetric":
        return base * mask
    push = base.abs() * mask
    if rule == "paper":
        return push
    # Both means of row sums over the group have the same number of rows, which cancels in their ratio.
    tokens = group_mean(mask.sum(1).to(push.dtype), batch.group)
    mean = group_mean(push.sum(1), batch.group) / torch.where(tokens > 0, tokens, 1.0)
    return (push - mean[:, None]) * mask
