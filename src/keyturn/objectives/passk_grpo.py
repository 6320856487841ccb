"""pass@k-aware policy gradient: a draw's credit is its contribution to the best of k draws of its prompt.

Formula, for row ``i`` among the ``n`` draws of its prompt with rewards ``r`` (``[row]``), ``S`` any ``k`` of
them::

    A_i  = mean over S with i of max_S r  -  mean over S without i of max_S r
    loss = - agg_t,i min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A)

For 0/1 rewards with ``c`` right among the other ``n - 1`` and ``rho(m, c, k) = 1 - C(m - c, k) / C(m, k)``,
the unbiased pass@k of ``m`` draws::

    right:  A_i = 1 - rho(n - 1, c, k)          wrong:  A_i = rho(n - 1, c, k - 1) - rho(n - 1, c, k)

Derivation. ``J = E max of k`` has the gradient ``E[max_S r * sum_{i in S} grad log pi(o_i)]`` for any fixed
``S``; averaged over all ``S`` of the ``n`` draws, draw ``i`` has the factor
``(k / n) * mean over S with i of max_S r``. The second mean of ``A_i`` uses only the other draws, so it is
independent of ``o_i`` and may be subtracted. So ``E[(1 / n) sum_i A_i grad log pi(o_i)] = (1 / k) grad J``,
and with ``k = 1`` it is leave-one-out REINFORCE.
Denominator: of ``aggregation`` (default: rows times the length limit, a constant: the direction is exact).
Degenerate: a group of ``n <= k`` draws uses ``k = n - 1``; a group of one, or of equal rewards, has credit 0.
Known bias: none in direction with the default aggregation, at the first update of a rollout.
Source: Walder & Karkhanis 2025 (2505.15201): the weights ``k / n`` and ``(k / n) rho(n - 1, c, k - 1)`` and
the maximum for rewards that are not 0/1; Chen et al. 2025 (2508.10751) divide the same quantities by the
deviation of pass@k. Departures: the baseline is ours, the same quantity on the other draws, so that ``k = 1``
is RLOO; there is no division by a deviation, which would bias the gradient as in GRPO.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation
from keyturn.objectives.contract import INVARIANTS, Objective, RolloutBatch
from keyturn.objectives.groups import silent
from keyturn.objectives.grpo import SINGLE_UPDATE, GrpoConfig
from keyturn.objectives.grpo import loss as clipped_loss


@dataclass(frozen=True, kw_only=True)
class PasskGrpoConfig:
    """Settings of the pass@k-aware policy gradient."""

    k: int = 4
    """Number of draws of which the best counts (2508.10751: 4); 1 is leave-one-out REINFORCE."""
    clip_low: float = 0.2
    """Lower clip range of the ratio (2402.03300)."""
    clip_high: float = 0.2
    """Upper clip range of the ratio (2402.03300)."""
    aggregation: Aggregation = "seq-mean-token-sum-norm"
    """How tokens are summed and what their sum is divided by; a constant keeps the direction exact."""


def passk_grpo(config: PasskGrpoConfig = PasskGrpoConfig()) -> Objective:
    """The pass@k-aware policy gradient with the given settings."""
    if config.k < 1:
        raise UsageError(f"k is {config.k}", fix="set k to at least 1")
    surrogate = GrpoConfig(clip_low=config.clip_low, clip_high=config.clip_high, aggregation=config.aggregation)
    return Objective(
        name="passk_grpo",
        summary="clipped policy gradient on a draw's contribution to the best of k",
        source="Walder & Karkhanis 2025, arXiv 2505.15201; Chen et al. 2025, arXiv 2508.10751",
        bias=(
            "None in direction at the first update of a rollout: with the default aggregation the expected "
            "gradient is 1 / (k L) times that of pass@k (of the expected maximum of k rewards), L the "
            "length limit, for groups of more than k draws; smaller groups follow pass@(n - 1)."
        ),
        credit=lambda batch: credit(batch, config),
        loss=lambda policy, batch: clipped_loss(policy, batch, surrogate),
        no_op_when_single_update=SINGLE_UPDATE,
        invariants=frozenset(INVARIANTS),
        config=config,
    )


def credit(batch: RolloutBatch, config: PasskGrpoConfig) -> Float[torch.Tensor, "row token"]:
    """Each draw's contribution to the best of k, on every generated token, ``[row, token]``."""
    out = torch.zeros_like(batch.rewards)
    for name in torch.unique(batch.group):
        rows = batch.group == name
        out[rows] = added_to_best(batch.rewards[rows], config.k)
    out = torch.where(silent(batch.rewards, batch.group), torch.zeros_like(out), out)
    return out[:, None] * batch.mask


def added_to_best(rewards: Float[torch.Tensor, " draw"], k: int) -> Float[torch.Tensor, " draw"]:
    """Mean best of k draws with each draw among them, minus the mean best without it, ``[draw]``.

    Args:
        rewards: rewards of all draws of one prompt.
        k: number of draws, at most one less than there are; with fewer than two draws the result is 0.
    """
    others = len(rewards) - 1
    k = min(k, others)
    if k < 1:
        return torch.zeros_like(rewards)
    ordered, order = rewards.double().sort()
    # Row i: the other draws' rewards, ascending.
    rest = ordered.expand(others + 1, -1)[~torch.eye(others + 1, dtype=torch.bool, device=rewards.device)]
    rest = rest.view(others + 1, others)
    without = rest @ _chance_of_best(others, k, rest)
    with_own = ordered
    if k > 1:
        with_own = torch.maximum(ordered[:, None], rest) @ _chance_of_best(others, k - 1, rest)
    out = torch.empty_like(ordered)
    out[order] = with_own - without
    return out.to(rewards.dtype)


def _chance_of_best(count: int, k: int, like: torch.Tensor) -> torch.Tensor:
    """Probability that the j-th smallest of ``count`` is the largest of k drawn without replacement,
    ``[count]``."""
    whole = math.comb(count, k)
    return torch.tensor(
        [math.comb(j, k - 1) / whole for j in range(count)], dtype=like.dtype, device=like.device
    )
