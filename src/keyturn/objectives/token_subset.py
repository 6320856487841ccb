"""Only some tokens learn: the uncertain ones, planning tokens, execution tokens, or the control token.

Formula, with ``A_i`` as in GRPO, the generated tokens ``m`` and the kept ones ``K`` among them
(``[row, token]``)::

    loss = - 1 / D * sum_t,i K min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

``tokens`` chooses the kept ones: ``top_entropy`` keeps the share ``quantile`` of the whole batch with the
highest entropy when drawn, ``low_entropy`` the rest, ``random`` the same number as ``top_entropy`` at random
places; ``plan``, ``execution`` and ``strategy`` keep tokens by role; ``control`` the first token of every row.
Denominator: ``D = sum K`` (``kept``, as published: each kept token has the weight that it would have without
the others) or ``D = sum m`` (``all``: the same tokens at the step size of full GRPO).
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0. A batch without a kept token has no
loss with ``kept`` and a loss of 0 with ``all``. Ties of entropy are kept (``keyturn.objectives.token_masks``).
Known bias: stated in ``Objective.bias`` and proved by enumeration.
Source: Wang et al. 2025 (2506.01939), equation 6, with DAPO's clip range (2503.14476); the control token alone
is a comparison that Thinkless (2505.13379) lacks. Departures: entropies are the sampler's and the threshold is
the whole rollout's (their code uses the current policy's, of a micro-batch). Ours: ``random``, roles and
``all``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Bool

from keyturn.core.errors import UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.core.roles import EXECUTION, Role
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import credit as group_credit
from keyturn.objectives.grpo import loss as clipped_loss
from keyturn.objectives.placebo import scores
from keyturn.objectives.token_masks import first, largest, of_roles, planning, top_entropy


@dataclass(frozen=True, kw_only=True)
class TokenSubsetConfig:
    """Settings of the objective in which only some tokens learn."""

    tokens: Literal["top_entropy", "low_entropy", "random", "plan", "execution", "strategy", "control"] = (
        "top_entropy"
    )
    """The tokens that learn."""
    quantile: float = 0.2
    """Share of the batch's tokens that counts as uncertain (2506.01939: 0.2)."""
    denominator: Literal["kept", "all"] = "kept"
    """Divide by the kept tokens (2506.01939) or by all tokens of the batch."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2503.14476)."""
    clip_high: float = 0.28
    """Upper clip range of the ratio (2503.14476)."""
    scale: Literal["std", "none"] = "std"
    """Whether to divide by the group's standard deviation (2503.14476)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def token_subset(config: TokenSubsetConfig = TokenSubsetConfig()) -> Objective:
    """The objective in which only some tokens learn, with the given settings."""
    if config.tokens not in KINDS:
        raise unknown("choice of tokens", config.tokens, KINDS)
    if config.denominator not in ("kept", "all"):
        raise unknown("denominator", config.denominator, ("kept", "all"))
    if not 0 < config.quantile <= 1:
        raise UsageError(f"a share of {config.quantile} of the tokens", fix="take a number above 0, at most 1")
    inner = GrpoConfig(
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        scale=config.scale,
        std_epsilon=config.std_epsilon,
        aggregation="token-mean",
    )
    by_role = config.tokens in ("plan", "execution", "strategy")
    return Objective(
        name="token_subset",
        summary="GRPO whose gradient goes only to uncertain, planning, execution or control tokens",
        source="Wang et al. 2025, arXiv 2506.01939, equation 6",
        bias=BIAS,
        needs=frozenset({"roles"}) if by_role else frozenset(),
        credit=lambda batch: group_credit(batch, inner),
        mark=lambda batch: kept(batch, config),
        loss=lambda policy, batch: loss(policy, batch, inner, config.denominator),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS),
        config=config,
    )


BIAS = (
    "A batch's gradient is that of GRPO with a token mean without the tokens that are not kept, times tokens "
    "/ kept tokens with the denominator 'kept' (5 at a fifth). If the position alone decides what is kept "
    "(control), the kept tokens move in expectation as under GRPO, and no others do. If the drawn token "
    "decides (roles), the baseline no longer cancels, and the expectation, with scale 'none' (1 - 1/G) / T "
    "E[(r - E r) sum_t K_t grad log pi(o_t)] for equal lengths T and 'all', is not the gradient of any "
    "reward. Thresholds of entropy depend on the other draws."
)

KINDS = {
    "top_entropy": lambda batch, share: top_entropy(batch, share),
    "low_entropy": lambda batch, share: batch.mask & ~top_entropy(batch, share),
    "random": lambda batch, share: largest(-scores(batch, "random tokens"), batch.mask, share),
    "plan": lambda batch, share: planning(batch),
    "execution": lambda batch, share: of_roles(batch, EXECUTION),
    "strategy": lambda batch, share: of_roles(batch, {Role.STRATEGY}),
    "control": lambda batch, share: first(batch),
}
"""Choice of tokens -> ``(batch, share) -> bool [row, token]``."""


def kept(batch: RolloutBatch, config: TokenSubsetConfig) -> Bool[torch.Tensor, "row token"]:
    """The tokens of the whole batch that learn."""
    return KINDS[config.tokens](batch, config.quantile)


def loss(policy: PolicyTokens, batch: RolloutBatch, inner: GrpoConfig, denominator: str) -> tuple[Term, ...]:
    """GRPO's terms on the kept tokens."""
    assert batch.credit is not None, "credit comes before loss"
    assert batch.marked is not None, "marks come before loss"
    if denominator == "kept":
        return clipped_loss(policy, replace(batch, mask=batch.marked), inner)
    silenced = torch.where(batch.marked, batch.credit, torch.zeros_like(batch.credit))
    return clipped_loss(policy, replace(batch, credit=silenced), inner)
