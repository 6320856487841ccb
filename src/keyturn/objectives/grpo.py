"""GRPO: a draw's credit is its reward relative to the draws of its prompt, in standard deviations of the group.

Formula, for row ``i`` of group ``g`` with reward ``r_i`` and mask ``m`` (``[row, token]``)::

    A_i  = (r_i - mean_g r) / (std_g r + std_epsilon)              [row], std with n - 1
    loss = - agg_t,i min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)
           + kl_weight * agg_t,i k(l - l_ref) - entropy_weight * mean_t,i H

with ``ratio = exp(l - l_behaviour)``. With ``kl_in="reward"`` the penalty, summed over the row, is instead
subtracted from ``r_i`` first (``keyturn.objectives.kl``; bonus: ``keyturn.objectives.entropy``).
Denominator: of ``aggregation`` (default: every row's mean over its tokens, then the mean over all rows, those
of silent groups included).
Degenerate: a group of equal rewards, or of one draw, has credit exactly 0; it counts in the denominator.
Known bias: stated in ``Objective.bias`` and proved by enumeration in the tests. With ``scale="none"`` the
group mean contains the row's own reward, which scales the gradient by ``1 - 1/G``.
Source: Shao et al. 2024 (2402.03300), equations 3 and 4. Departures: the reference penalty is off by default
(as in DAPO and Dr. GRPO); the penalty in the reward is verl's; the entropy bonus is Skywork-OR1's
(2505.22312).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation, aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.entropy import adaptive, entropy_needed, entropy_terms
from keyturn.objectives.groups import group_mean, group_std, silent
from keyturn.objectives.kl import KlKind, KlPlace, kl_terms, reference_needed, shaped_rewards
from keyturn.objectives.surrogate import clipped


@dataclass(frozen=True, kw_only=True)
class GrpoConfig:
    """Settings of GRPO."""

    clip_low: float = 0.2
    """Lower clip range of the ratio (2402.03300)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio; DAPO's clip-higher is 0.28."""
    scale: Literal["std", "none"] = "std"
    """Whether to divide by the group's standard deviation (Dr. GRPO does not)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""
    aggregation: Aggregation = "seq-mean-token-mean"
    """How tokens are summed, and the denominator (2402.03300, eq. 3)."""
    kl_weight: float = 0.0
    """Weight of the penalty towards the reference, per nat; the paper's 0.04 is off as in DAPO."""
    kl_kind: KlKind = "k3"
    """Sample of the KL (2402.03300: k3). The gradient of KL(policy || reference) is that of k2 as a loss, or of
    k1 as a reward; k1 as a loss has expected gradient 0."""
    kl_in: KlPlace = "loss"
    """Whether the penalty is a term of the loss (2402.03300) or is subtracted from the reward."""
    entropy_weight: float = 0.0
    """Coefficient of the entropy bonus, per nat; with a target, the first coefficient."""
    entropy_target: float | None = None
    """Target entropy of the adaptive coefficient, nats per token (2505.22312: 0.2); None means fixed."""
    entropy_step: float = 0.005
    """Change of the coefficient per step (2505.22312)."""


def grpo(config: GrpoConfig = GrpoConfig()) -> Objective:
    """GRPO with the given settings."""
    if config.kl_in not in ("loss", "reward"):
        raise UsageError(f"kl_in is {config.kl_in!r}", fix="take 'loss' or 'reward'")
    shaped = bool(config.kl_weight) and config.kl_in == "reward"
    return Objective(
        name="grpo",
        summary="clipped policy gradient on rewards standardised within the draws of each prompt",
        source="Shao et al. 2024, arXiv 2402.03300, equations 3 and 4",
        bias=BIAS[config.scale],
        needs=reference_needed(config.kl_weight) | entropy_needed(config.entropy_weight, config.entropy_target),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: loss(policy, batch, config),
        adapt=adaptive(weight=config.entropy_weight, target=config.entropy_target, step=config.entropy_step),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS) - ({"equal rewards", "silent groups"} if shaped else set()),
        config=config,
    )


SINGLE_UPDATE = "clip_low and clip_high have no effect: the ratio is 1 wherever a gradient is taken."

BIAS = {
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
"""The declared bias by ``scale``."""


def credit(batch: RolloutBatch, config: GrpoConfig) -> Float[torch.Tensor, "row token"]:
    """Group-standardised rewards on every generated token, ``[row, token]``; exactly 0 in silent groups."""
    rewards = batch.rewards
    if config.kl_in == "reward":
        rewards = shaped_rewards(batch, weight=config.kl_weight, kind=config.kl_kind)
    centred = rewards - group_mean(rewards, batch.group)
    if config.scale == "std":
        centred = centred / (group_std(rewards, batch.group) + config.std_epsilon)
    # Equal rewards may differ from their rounded mean; divided by a tiny deviation, that would be noise.
    centred = torch.where(silent(rewards, batch.group), torch.zeros_like(centred), centred)
    return centred[:, None] * batch.mask


def loss(policy: PolicyTokens, batch: RolloutBatch, config: GrpoConfig) -> tuple[Term, ...]:
    """The clipped surrogate, penalty and bonus if they are on, and the clipped shares (weight 0)."""
    assert batch.credit is not None, "credit comes before loss"
    # Masked before the exponential: padding may hold anything, and 0 * inf would reach the gradient.
    gap = torch.where(batch.mask, policy.logprobs - batch.behaviour_logprobs, 0.0)
    surrogate = clipped(torch.exp(gap), batch.credit, config.clip_low, config.clip_high)
    how, limit = config.aggregation, batch.max_new_tokens
    terms = [Term("policy", *aggregate(how, -surrogate.value, batch.mask, limit), credited=True)]
    for name, share in (("clipped_high", surrogate.high), ("clipped_low", surrogate.low)):
        terms.append(Term(name, *aggregate("token-mean", share, batch.mask, limit), weight=0.0, credited=True))
    if config.kl_in == "loss":
        terms += kl_terms(policy, batch, weight=config.kl_weight, kind=config.kl_kind, aggregation=how)
    terms += entropy_terms(policy, batch, weight=config.entropy_weight, target=config.entropy_target)
    return tuple(terms)
