"""Statistics of the draws of one prompt, for groups of any size in any row order.

``group`` holds any integers; rows with equal entries are draws of one prompt. Every function returns one value
per row, that of the row's group.
Degenerate: a group of one draw has no others, so its own value is used for their mean, and its spread is 0;
never NaN. Source: none; ours, for groups that lost rows (an ungraded draw leaves its group).
"""

from __future__ import annotations

from jaxtyping import Float, Int

from keyturn.core.lazy import torch


def group_size(group: Int[torch.Tensor, " row"], dtype: torch.dtype) -> Float[torch.Tensor, " row"]:
    """Number of draws in the row's group."""
    return _spread(torch.ones(len(group), dtype=dtype, device=group.device), group)


def group_mean(
    values: Float[torch.Tensor, " row"], group: Int[torch.Tensor, " row"]
) -> Float[torch.Tensor, " row"]:
    """Mean over the row's group, the row itself included."""
    return _spread(values, group) / group_size(group, values.dtype)


def mean_of_others(
    values: Float[torch.Tensor, " row"], group: Int[torch.Tensor, " row"]
) -> Float[torch.Tensor, " row"]:
    """Mean over the row's group without the row itself; the row's own value if there are no others."""
    size = group_size(group, values.dtype)
    return torch.where(size > 1, (_spread(values, group) - values) / (size - 1).clamp(min=1), values)


def group_std(
    values: Float[torch.Tensor, " row"], group: Int[torch.Tensor, " row"]
) -> Float[torch.Tensor, " row"]:
    """Sample standard deviation (``n - 1`` in the denominator) of the row's group; 0 for a single draw."""
    centred = values - group_mean(values, group)
    return (_spread(centred.square(), group) / (group_size(group, values.dtype) - 1).clamp(min=1)).sqrt()


def silent(values: Float[torch.Tensor, " row"], group: Int[torch.Tensor, " row"]) -> torch.Tensor:
    """True on rows in whose group all values are equal, compared exactly, bool ``[row]``."""
    _, place = torch.unique(group, return_inverse=True)
    high = torch.full((len(values),), -torch.inf, dtype=values.dtype, device=values.device)
    low = torch.full_like(high, torch.inf)
    high = high.scatter_reduce(0, place, values, "amax")
    low = low.scatter_reduce(0, place, values, "amin")
    return (high == low)[place]


def _spread(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Sum over the row's group, for every row."""
    _, place = torch.unique(group, return_inverse=True)
    return torch.zeros_like(values).index_add(0, place, values)[place]
