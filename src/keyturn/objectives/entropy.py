"""An entropy bonus: it raises the entropy of tokens, by a fixed coefficient or up to a target.

With the policy's entropy ``H`` (nats at temperature 1, ``[row, token]``, with gradient)::

    loss = ... - coefficient * sum m H / sum m
    fixed:     coefficient = weight
    adaptive:  c <- c + step if entropy <= target, else max(c - step, 0)
               coefficient = c if entropy <= target, else 0

where ``entropy`` is that of the previous step's draws, and ``c`` begins at ``weight``.
Denominator: tokens of the whole batch, whatever the denominator of the policy's own term.
Degenerate: in the first step no entropy is known, and the adaptive coefficient is 0.
Known bias: the gradient is that of the mean entropy of the next-token distributions in the drawn contexts,
which are held fixed; it ignores that an earlier token changes which contexts are visited later.
Source: fixed: Williams & Peng 1991; adaptive: Skywork-OR1 (He et al. 2025, 2505.22312).
Departures: the entropy is that of the previous step (there: of this step's draws), and the coefficient does not
fall below 0 (as in TRL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from keyturn.core.errors import UsageError
from keyturn.objectives.aggregation import aggregate
from keyturn.objectives.contract import Adapted, PolicyTokens, RolloutBatch, Term

ENTROPY = "entropy/all"
"""Column of the metrics for the adaptive coefficient."""


def entropy_needed(weight: float, target: float | None) -> frozenset[str]:
    """The needs of a bonus with these settings: entropies with gradient, or nothing if it is off."""
    return frozenset({"policy_entropies"}) if weight or target is not None else frozenset()


def entropy_terms(
    policy: PolicyTokens, batch: RolloutBatch, *, weight: float, target: float | None
) -> tuple[Term, ...]:
    """The bonus as a term of the loss: the summed entropies with negative weight; empty if it is off.

    Args:
        policy: the policy's numbers; its entropies have a gradient.
        batch: the batch.
        weight: fixed coefficient, per nat.
        target: target in nats; with one, the term has weight -1, which :func:`adaptive` multiplies by the
            coefficient.
    """
    if not entropy_needed(weight, target):
        return ()
    total, tokens = aggregate("token-mean", policy.entropies, batch.mask, batch.max_new_tokens)
    return (Term("entropy", total, tokens, weight=-weight if target is None else -1.0),)


def adaptive(
    *, weight: float, target: float | None, step: float
) -> Callable[[Mapping[str, float], int, Mapping[str, float]], Adapted] | None:
    """The schedule of the coefficient, for ``Objective.adapt``; None if the coefficient is fixed.

    Args:
        weight: first coefficient.
        target: target in nats per token, or None.
        step: change of the coefficient per step.
    """
    if target is None:
        return None
    if weight < 0 or step <= 0:
        raise UsageError(
            f"an adaptive entropy coefficient from {weight} by {step}", fix="begin at 0 or more, step above 0"
        )

    def adapt(state: Mapping[str, float], number: int, metrics: Mapping[str, float]) -> Adapted:
        coefficient = state.get("coefficient", weight)
        entropy = metrics.get(ENTROPY, math.nan)
        if math.isnan(entropy):  # nothing was drawn yet
            return Adapted({"coefficient": coefficient}, {"entropy": 0.0})
        low = entropy <= target
        coefficient = coefficient + step if low else max(coefficient - step, 0.0)
        return Adapted({"coefficient": coefficient}, {"entropy": coefficient if low else 0.0})

    return adapt
