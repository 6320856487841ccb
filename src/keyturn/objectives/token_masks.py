"""Masks of tokens: those of a role, of a position, or of high entropy within the whole batch.

With the generated tokens ``m`` and their entropies ``H`` (``[row, token]``), ``n = sum m``::

    roles         m and role in a set
    control       m and position 0 (the first generated token)
    top entropy   m and H >= the ceil(share * n)-th largest H of the batch
    low entropy   m and not top entropy

Denominator: none; a mask is a choice, and the objective decides the denominator.
Degenerate: tokens that tie with the threshold are all kept, so the order of rows does not matter: with equal
entropies everywhere, every token is top and none is low. Entropies that are NaN are low.
Known bias: the threshold is the batch's, so whether a token is kept depends on the other draws.
Source: top entropy: Wang et al. 2025 (2506.01939), equation 6: a threshold, so ties are kept as here (their
code takes exactly ``ceil(share * n)`` by index, of a micro-batch). Roles: ``keyturn.core.roles``. Departures:
the entropies are the sampler's, not recomputed in each update.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from jaxtyping import Bool, Float

from keyturn.core.lazy import torch
from keyturn.core.roles import PLANNING, Role
from keyturn.objectives.contract import RolloutBatch


def of_roles(batch: RolloutBatch, roles: Iterable[Role]) -> Bool[torch.Tensor, "row token"]:
    """Generated tokens of some roles."""
    assert batch.roles is not None, "the objective's needs name roles"
    wanted = torch.tensor(sorted(int(role) for role in roles), device=batch.mask.device)
    return torch.isin(batch.roles, wanted) & batch.mask


def planning(batch: RolloutBatch) -> Bool[torch.Tensor, "row token"]:
    """Generated tokens that decide the next step."""
    return of_roles(batch, PLANNING)


def first(batch: RolloutBatch) -> Bool[torch.Tensor, "row token"]:
    """The first generated token of every row, the position of a control token."""
    mask = batch.mask.clone()
    mask[:, 1:] = False
    return mask


def top_entropy(batch: RolloutBatch, share: float) -> Bool[torch.Tensor, "row token"]:
    """The share of the batch's tokens with the highest entropy when they were drawn, ties included."""
    return largest(torch.nan_to_num(batch.entropies, nan=-torch.inf), batch.mask, share)


def largest(
    values: Float[torch.Tensor, "row token"], mask: Bool[torch.Tensor, "row token"], share: float
) -> Bool[torch.Tensor, "row token"]:
    """The ``ceil(share * n)`` largest of the ``n`` values inside the mask, with all that tie with the last."""
    inside = values[mask]
    if not len(inside):
        return torch.zeros_like(mask)
    # 0.2 * 5 may be slightly more than 1.
    count = max(1, math.ceil(share * len(inside) - 1e-9))
    return mask & (values >= inside.topk(count).values[-1])
