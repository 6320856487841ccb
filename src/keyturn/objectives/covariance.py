"""How much entropy a token's update is expected to cost: the covariance of credit and log-probability.

With the credit ``A`` and the log-probability ``l`` of every generated token (``[row, token]``), means over all
``n`` tokens of the batch::

    c = (A - mean A) (l - mean l)

Denominator: none; ``mean c`` is the batch's covariance.
Degenerate: with equal credit everywhere, or fewer than two tokens, every ``c`` is exactly 0.
Known bias: tokens of all contexts share one mean of ``l``, so a token may also be high because its context is
predictable. The theory's covariance is within a context.
Source: Cui et al. 2025 (2505.22617), equation for Clip-Cov and KL-Cov and the released code. Departures: ``l``
is from
before the updates of the rollout and not from each update: the choice is made once, on the whole batch (their
code chooses again in each micro-batch). At the first update both are the same.
"""

from __future__ import annotations

from jaxtyping import Float

from keyturn.core.lazy import torch
from keyturn.objectives.contract import RolloutBatch


def covariance(batch: RolloutBatch) -> Float[torch.Tensor, "row token"]:
    """Each token's summand of the covariance, 0 outside the mask, ``[row, token]``."""
    assert batch.credit is not None, "credit comes before a covariance"
    mask = batch.mask
    inside = batch.credit[mask]
    if len(inside) < 2 or bool((inside == inside[0]).all()):
        return torch.zeros_like(batch.credit)
    logprobs = torch.where(mask, batch.behaviour_logprobs, 0.0).to(batch.credit.dtype)
    parts = (batch.credit - inside.mean()) * (logprobs - logprobs[mask].mean())
    return torch.where(mask, parts, torch.zeros_like(parts))
