"""HICRA: tokens that plan get more credit than tokens that carry out; with the rules that show what that is.

Formula, with ``A_i = r_i - mean_g r`` of row ``i`` in group ``g`` (``[row]``), the planning mask ``P`` inside
the generated tokens ``m`` (``[row, token]``)::

    paper       added_it = alpha |A_i| P_it
    symmetric   added_it = alpha  A_i  P_it
    centred     added_it = alpha (|A_i| - mean of |A_j| over the planning tokens (j, s) of g) P_it
    credit_it   = A_i m_it + added_it
    loss        = - agg_t,i min(ratio credit, clip(ratio, 1 - clip_low, 1 + clip_high) credit)

``centred`` takes from the paper's added credit its mean over the planning tokens of the prompt's draws, so that
over these tokens the added credit sums to 0. With ``mask="placebo"`` the spans of ``P`` are laid anew at
random in each row (``keyturn.objectives.placebo``); ``alpha=0`` is the baseline that HICRA is compared with.
Denominator: of ``aggregation`` (default: tokens of the whole batch).
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0. Without a planning token it is GRPO
with mean-only credit.
Known bias: stated in ``Objective.bias`` and proved by enumeration, also under a reward that is drawn at random.
With a placebo mask the same push goes to all tokens of rows that hold planning tokens.
Source: Wang et al. 2025 (2509.03646), the rule ``A + alpha |A|`` with alpha 0.2 over mean-only credit and
clip-higher. Ours: ``symmetric``, ``centred`` and the placebo. Departures: the paper's clip range and what it
divides by are not known to us: DAPO's (2503.14476) here. ``centred`` takes the mean off the added credit alone,
over tokens. Taking the group's mean off the whole credit, by class of token, would also
take ``mean A`` over planning tokens and over the others from what the baseline gives, which is not 0 where rows
differ in how many they have, and with ``alpha=0`` would no longer be the baseline. The drift, which is in the
added credit, is gone either way.
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
    """Share of the credit that planning tokens get on top (2509.03646: 0.2); 0: none, the baseline."""
    rule: Literal["paper", "symmetric", "centred"] = "paper"
    """What is added: alpha |A|, alpha A, or alpha |A| less its mean over the prompt's planning tokens."""
    mask: Literal["roles", "placebo"] = "roles"
    """Planning tokens, or as many at random places, in spans of the same lengths."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2503.14476)."""
    clip_high: float = 0.28
    """Upper clip range of the ratio: clip-higher (2503.14476; 2509.03646 has it, without a number)."""
    aggregation: Aggregation = "token-mean"
    """How tokens are summed and what the sum is divided by (2503.14476)."""


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
        "Beside (1 - 1/G) times the true gradient it adds alpha E[|A_i| sum_t P_it grad log pi(o_it)], a push "
        "up on planning tokens that no reward can turn round: with rewards that do not depend on the draws it "
        "is alpha E|A_i| times the gradient of the probability of planning tokens in the contexts drawn "
        "(all of it with seq-mean-token-sum; other aggregations add their own factors)."
    ),
    "symmetric": (
        "Beside (1 - 1/G) times the true gradient it adds alpha E[A_i sum_t P_it grad log pi(o_it)]: planning "
        "tokens learn (1 + alpha) times as fast both ways, which is 0 for rewards that do not depend on the "
        "draws (with seq-mean-token-sum; other aggregations add their own factors)."
    ),
    "centred": (
        "Beside (1 - 1/G) times the true gradient it adds alpha E[(|A_i| - its mean over the prompt's planning "
        "tokens) sum_t P_it grad log pi(o_it)]: planning tokens of the rarer outcome go up, those of the "
        "commoner down, which is 0 for rewards that do not depend on the draws (with seq-mean-token-sum; other"
        " aggregations add their own factors)."
    ),
}
"""The declared bias by ``rule``."""


def credit(batch: RolloutBatch, config: HicraConfig) -> Float[torch.Tensor, "row token"]:
    """Mean-only credit with what planning tokens get on top, ``[row, token]``; 0 in silent groups."""
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
    """What ``rule`` gives to the tokens of ``mask``, by alpha."""
    if rule == "symmetric":
        return base * mask
    push = base.abs() * mask
    if rule == "paper":
        return push
    # Means of row sums over the group have one count of rows, which cancels in their ratio.
    tokens = group_mean(mask.sum(1).to(push.dtype), batch.group)
    mean = group_mean(push.sum(1), batch.group) / torch.where(tokens > 0, tokens, 1.0)
    return (push - mean[:, None]) * mask
