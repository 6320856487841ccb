"""REINFORCE++: tokens have rewards and returns, which are whitened over the batch.

Formula, with ``r_i`` the row's reward (minus its group's mean if ``baseline="group"``; ``[row, token]``)::

    x_it = r_i [t is the row's last token] - kl_weight * k(l_sampled - l_ref)_it
    R_it = sum_{s >= t} gamma^(s - t) x_is
    A_it = (R_it - mean R) / sqrt(var R + 1e-8)          mean and var (n - 1) over all tokens of the batch
    loss = - agg_t,i min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

``gamma`` counts only tokens that the policy chose.
Denominator: of ``aggregation`` (default: tokens of the whole batch).
Degenerate: returns that are all equal, or a single token, give credit exactly 0. A group of equal rewards does
not
if other groups differ: its tokens are still compared with the batch.
Known bias: stated in ``Objective.bias`` and proved by enumeration. The mean over tokens lets long rows set
the baseline, which is the batch's and contains the row itself; credit of one prompt depends on the others.
Source: Hu 2025 (2501.03262); the ``-baseline`` variant is ``baseline="group"``. Departures:
the whitening is verl's (n - 1, 1e-8 under the root); in the ``-baseline`` variant of the paper the penalty is
a loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation
from keyturn.objectives.contract import Objective, RolloutBatch
from keyturn.objectives.groups import group_mean, silent
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import loss as clipped_loss
from keyturn.objectives.kl import KlKind, penalty, reference_needed

_UNDER_ROOT = 1e-8


@dataclass(frozen=True, kw_only=True)
class ReinforcePpConfig:
    """Settings of REINFORCE++."""

    baseline: Literal["none", "group"] = "none"
    """Baseline that is subtracted before whitening: none, or the mean of the prompt's draws."""
    gamma: float = 1.0
    """Discount per token (2501.03262)."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2501.03262)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2501.03262)."""
    aggregation: Aggregation = "token-mean"
    """How tokens are summed, and the denominator (verl's default)."""
    kl_weight: float = 0.0
    """Weight of each token's sample of the KL to the reference in its reward, per nat."""
    kl_kind: KlKind = "k1"
    """Sample of the KL; in a reward, the gradient of k1 is that of KL(policy || reference)."""


def reinforce_pp(config: ReinforcePpConfig = ReinforcePpConfig()) -> Objective:
    """REINFORCE++ with the given settings."""
    if not 0 < config.gamma <= 1:
        raise UsageError(f"gamma is {config.gamma}", fix="take a number above 0, at most 1")
    surrogate = GrpoConfig(clip_low=config.clip_low, clip_high=config.clip_high, aggregation=config.aggregation)
    return Objective(
        name="reinforce_pp",
        summary="clipped policy gradient on returns of tokens, whitened over the batch",
        source="Hu 2025, arXiv 2501.03262",
        bias=(
            "With 0/1 rewards, one prompt, n rows of T tokens, gamma 1 and no penalty the expected gradient"
            " is w(p) / T times the true one, w(p) = E[v / sqrt(v n T / (n T - 1) + 1e-8)] / (p (1 - p)), v"
            " = (c/n)(1 - c/n), c ~ Binomial(n, p). With unequal lengths the baseline is the mean over "
            "tokens, so long rows dominate it and the direction differs from the true one."
        ),
        needs=reference_needed(config.kl_weight),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: clipped_loss(policy, batch, surrogate),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset({"row order"}) | _kept(config),
        config=config,
    )


def _kept(config: ReinforcePpConfig) -> frozenset[str]:
    """The ``INVARIANTS`` that hold besides the order of rows."""
    if config.baseline == "group":
        return frozenset({"shift", "prompt shift"}) | ({"equal rewards"} if not config.kl_weight else set())
    if config.gamma < 1:
        return frozenset()  # a constant at the end of a row becomes a different constant at its first token
    return frozenset({"shift"}) | ({"equal rewards"} if not config.kl_weight else set())


def credit(batch: RolloutBatch, config: ReinforcePpConfig) -> Float[torch.Tensor, "row token"]:
    """Whitened returns on every generated token, ``[row, token]``."""
    rewards = batch.rewards
    if config.baseline == "group":
        centred = rewards - group_mean(rewards, batch.group)
        rewards = torch.where(silent(rewards, batch.group), torch.zeros_like(centred), centred)
    at_token = torch.where(_last(batch.mask), rewards[:, None], 0.0)
    if config.kl_weight:
        at_token = at_token - config.kl_weight * penalty(config.kl_kind, batch, batch.sampled_logprobs)
    return whitened(returns(at_token, batch.mask, config.gamma), batch.mask)


def returns(
    rewards: Float[torch.Tensor, "row token"], mask: Bool[torch.Tensor, "row token"], gamma: float
) -> Float[torch.Tensor, "row token"]:
    """The discounted sum from each token on, itself included; 0 outside the mask."""
    out = torch.zeros_like(rewards)
    behind = torch.zeros_like(rewards[:, 0]) if rewards.shape[1] else rewards.sum(1)
    for t in reversed(range(rewards.shape[1])):
        behind = torch.where(mask[:, t], rewards[:, t] + gamma * behind, behind)
        out[:, t] = behind
    return out * mask


def whitened(
    values: Float[torch.Tensor, "row token"], mask: Bool[torch.Tensor, "row token"]
) -> Float[torch.Tensor, "row token"]:
    """Values minus their mean over all tokens, divided by their deviation; exactly 0 if all are equal."""
    inside = values[mask]
    if len(inside) < 2 or bool((inside == inside[0]).all()):
        return torch.zeros_like(values)
    return (values - inside.mean()) * torch.rsqrt(inside.var() + _UNDER_ROOT) * mask


def _last(mask: Bool[torch.Tensor, "row token"]) -> Bool[torch.Tensor, "row token"]:
    """True on the last generated token of every row that has one."""
    return mask & (mask.flip(1).cumsum(1).flip(1) == 1)
