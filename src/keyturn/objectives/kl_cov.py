"""KL-Cov: a penalty keeps the tokens of highest covariance between credit and log-probability in place.

Formula, with ``A_i`` as in GRPO, ``c`` the covariance of a token (``keyturn.objectives.covariance``), ``n`` the
generated tokens of the batch and ``gap = l - l_behaviour`` (``[row, token]``)::

    K    = the max(1, floor(share * n)) tokens of highest c, of those with c > 0
    loss = - 1 / n * sum_t,i ratio A  +  weight / n * sum_t,i [in K] |gap|      (|gap| <= slack counts as 0)

Denominator: tokens of the whole batch, for both terms.
Degenerate: if credit is equal everywhere, no token is held. Tokens that tie with the last are all held.
Known bias: stated in ``Objective.bias`` and proved by enumeration. The strength of the pull does not depend on
the distance, and it uses only the drawn token, not the distribution.
Source: Cui et al. 2025 (2505.22617), KL-Cov, and its released code for ``|gap|``, for the missing clip range
and for a ``k_percent`` of 0.2 that means 0.2 %. Departures: tokens are chosen once, before the first update of
the rollout; only positive covariances count; and a gap within ``slack`` counts as 0, since ``|gap|`` has slope
1 for any small gap, so rounding between sampler and trainer would push as hard as a real change.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import INVARIANTS, Objective, PolicyTokens, RolloutBatch, Term
from keyturn.objectives.covariance import covariance
from keyturn.objectives.grpo import GrpoConfig
from keyturn.objectives.grpo import credit as group_credit


@dataclass(frozen=True, kw_only=True)
class KlCovConfig:
    """Settings of KL-Cov."""

    share: float = 2e-3
    """Share of held tokens in the batch (2505.22617; the released k_percent 0.2 is in per cent)."""
    weight: float = 1.0
    """Weight of the pull, per nat (released code)."""
    slack: float = 1e-4
    """Largest gap in nats that counts as rounding and is not penalised (ours)."""
    std_epsilon: float = 1e-4
    """Added to the standard deviation, in units of reward (TRL's value; verl takes 1e-6)."""


def kl_cov(config: KlCovConfig = KlCovConfig()) -> Objective:
    """KL-Cov with the given settings."""
    if not 0 < config.share <= 1 or config.weight < 0 or config.slack < 0:
        raise UsageError(
            f"a share of {config.share}, a weight of {config.weight} and a slack of {config.slack}",
            fix="a share above 0, at most 1; weight and slack of 0 or more",
        )
    inner = GrpoConfig(std_epsilon=config.std_epsilon)
    return Objective(
        name="kl_cov",
        summary="GRPO without a clip range, in which tokens of the highest covariance are held in place",
        source="Cui et al. 2025, arXiv 2505.22617, KL-Cov",
        bias=(
            "At the first update of a rollout exactly that of GRPO with a token mean: with equal lengths T and "
            "0/1 rewards w_G(p) / T times the true gradient. Later each held token is pulled back by weight / "
            "n, n the tokens of the batch, on its log-probability, whatever its credit, and no ratio is "
            "clipped."
        ),
        credit=lambda batch: group_credit(batch, inner),
        mark=lambda batch: held(batch, config.share),
        loss=lambda policy, batch: loss(policy, batch, config),
        no_op_when_single_update=(
            "The held tokens and weight have no effect: the ratio is 1 wherever a gradient is taken."
        ),
        invariants=frozenset(INVARIANTS),
        config=config,
    )


def held(batch: RolloutBatch, share: float) -> Bool[torch.Tensor, "row token"]:
    """The tokens of the whole batch that are held in place."""
    found = covariance(batch)
    inside = found[batch.mask]
    if not len(inside):
        return torch.zeros_like(batch.mask)
    threshold = inside.topk(max(1, int(share * len(inside)))).values[-1]
    return batch.mask & (found > 0) & (found >= threshold)


def loss(policy: PolicyTokens, batch: RolloutBatch, config: KlCovConfig) -> tuple[Term, ...]:
    """The unclipped surrogate, and the pull on the held tokens."""
    assert batch.credit is not None, "credit comes before loss"
    assert batch.marked is not None, "marks come before loss"
    # Masked before the exponential: padding may hold anything, and 0 * inf would reach the gradient.
    gap = torch.where(batch.mask, policy.logprobs - batch.behaviour_logprobs, 0.0)
    pull = torch.where(batch.marked & (gap.abs() > config.slack), gap.abs(), torch.zeros_like(gap))
    limit = batch.max_new_tokens
    return (
        Term(
            "policy", *aggregate("token-mean", -torch.exp(gap) * batch.credit, batch.mask, limit), credited=True
        ),
        Term("held", *aggregate("token-mean", pull, batch.mask, limit), weight=config.weight),
    )
