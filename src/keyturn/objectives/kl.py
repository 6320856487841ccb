"""The penalty towards a reference: a choice of sample of the KL, as a loss or as a reward.

With ``gap = l - l_reference`` at a drawn token (``[row, token]``)::

    k1 = gap          k2 = gap^2 / 2          k3 = exp(-gap) + gap - 1

Denominator: as a loss, that of the objective's aggregation; as a reward, none (a sum over the row).
Degenerate: if the policy is the reference, all three are 0. k3 grows exponentially with how much likelier the
reference finds the token; the loop skips values that are not finite.
Known bias: k1 and k3 are unbiased samples of the *value* ``KL(policy || reference)``, k2 is not. Their
gradients differ (all proved by enumeration in ``tests/objectives/test_penalties.py``). Write ``KL_c`` for the
divergence of the next-token distributions in a context ``c``, and ``E_c`` for the mean over the contexts that
draws visit, held fixed.

As a loss, draws held fixed:

- k1 has expected gradient 0: it adds to the loss but has no effect.
- k2 has the gradient of ``E_c KL_c(policy || reference)``.
- k3 has the gradient of ``E_c KL_c(reference || policy)``: the other direction.

All ignore that an earlier token changes which contexts are visited later, so for rows of more than one token
none is the whole gradient of the sequence's KL. After the first update of a rollout the draws come from another
policy, for which there is no correction.

As a reward (computed from the sampler's log-probabilities and subtracted from the draw's reward):

- k1 has the whole gradient of the sequence's ``KL(policy || reference)``.
- k2 and k3 lack the gradient of the sample itself, which they have as a loss.

Source: Schulman 2020, "Approximating KL divergence"; k3 as a loss: DeepSeekMath (Shao et al. 2024,
2402.03300, eq. 4); k1 in the reward: Ouyang et al. 2022 (2203.02155, eq. 2), RLOO (2402.14740). Departures:
none of the clamps of verl (gap to 20, value to 10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from jaxtyping import Float

from keyturn.core.errors import unknown
from keyturn.core.lazy import torch
from keyturn.objectives.aggregation import Aggregation, aggregate
from keyturn.objectives.contract import PolicyTokens, RolloutBatch, Term
from keyturn.objectives.surrogate import k3

KlKind: TypeAlias = Literal["k1", "k2", "k3"]
KlPlace: TypeAlias = Literal["loss", "reward"]

KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "k1": lambda gap: gap,
    "k2": lambda gap: gap.square() / 2,
    "k3": k3,
}
"""Kind -> sample of the KL from the gap of log-probabilities."""


def reference_needed(weight: float) -> frozenset[str]:
    """Fields of the batch that a penalty of this weight needs."""
    return frozenset({"reference_logprobs"}) if weight else frozenset()


def penalty(
    kind: KlKind, batch: RolloutBatch, logprobs: Float[torch.Tensor, "row token"]
) -> Float[torch.Tensor, "row token"]:
    """The sample of the KL at every token, 0 outside the mask, ``[row, token]``.

    Args:
        kind: a key of :data:`KINDS`.
        batch: batch with the reference's log-probabilities.
        logprobs: log-probabilities of the policy, with or without gradient.
    """
    if kind not in KINDS:
        raise unknown("kind of KL", kind, KINDS)
    assert batch.reference_logprobs is not None, "a penalty needs reference log-probabilities"
    # Masked before the exponential: padding may hold anything, and 0 * inf would reach the gradient.
    return KINDS[kind](torch.where(batch.mask, logprobs - batch.reference_logprobs, 0.0))


def kl_terms(
    policy: PolicyTokens, batch: RolloutBatch, *, weight: float, kind: KlKind, aggregation: Aggregation
) -> tuple[Term, ...]:
    """The penalty as a term of the loss; empty if its weight is 0.

    Args:
        policy: the policy's numbers for the batch's tokens.
        batch: batch with the reference's log-probabilities.
        weight: weight per nat.
        kind: the sample.
        aggregation: aggregation of the policy's own term.
    """
    if not weight:
        return ()
    values = penalty(kind, batch, policy.logprobs)
    return (Term("kl", *aggregate(aggregation, values, batch.mask, batch.max_new_tokens), weight=weight),)


def shaped_rewards(batch: RolloutBatch, *, weight: float, kind: KlKind) -> Float[torch.Tensor, " row"]:
    """Rewards minus the penalty of the whole row at sampling time; the plain rewards if its weight is 0."""
    if not weight:
        return batch.rewards
    return batch.rewards - weight * penalty(kind, batch, batch.sampled_logprobs).sum(1)
