"""Aggregation of one number per token to a sum and its denominator; the choice changes results, so it is
explicit.

With per-token numbers ``x[row, token]``, the mask ``m`` and ``T_i = sum_t m_it`` (``[row]``):

- ``seq-mean-token-mean``: ``sum_i (1 / T_i) sum_t m_it x_it``, denominator the number of rows.
- ``token-mean``: ``sum_i sum_t m_it x_it``, denominator ``sum_i T_i`` of the whole batch.
- ``seq-mean-token-sum``: ``sum_i sum_t m_it x_it``, denominator the number of rows.
- ``seq-mean-token-sum-norm``: as before, denominator rows times the length limit (a constant).

Degenerate: a row without tokens adds nothing but counts as a row.
Known bias: the first weakens every token of a long row (long wrong answers are penalised less per token); the
second gives long rows more weight; the last two do neither.
Source: DeepSeekMath (Shao et al. 2024, 2402.03300, eq. 3), DAPO (Yu et al. 2025, 2503.14476, eq. 8), Dr. GRPO
(Liu et al. 2025, 2503.20783, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from jaxtyping import Bool, Float

from keyturn.core.lazy import torch

Aggregation: TypeAlias = Literal[
    "seq-mean-token-mean", "token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"
]


def _seq_mean_token_mean(values: torch.Tensor, mask: torch.Tensor, limit: int) -> tuple[torch.Tensor, float]:
    lengths = mask.sum(1).clamp(min=1)
    return (values.sum(1) / lengths).sum(), float(len(mask))


def _token_mean(values: torch.Tensor, mask: torch.Tensor, limit: int) -> tuple[torch.Tensor, float]:
    return values.sum(), float(mask.sum())


def _seq_mean_token_sum(values: torch.Tensor, mask: torch.Tensor, limit: int) -> tuple[torch.Tensor, float]:
    return values.sum(), float(len(mask))


def _seq_mean_token_sum_norm(
    values: torch.Tensor, mask: torch.Tensor, limit: int
) -> tuple[torch.Tensor, float]:
    return values.sum(), float(len(mask) * limit)


AGGREGATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, int], tuple[torch.Tensor, float]]] = {
    "seq-mean-token-mean": _seq_mean_token_mean,
    "token-mean": _token_mean,
    "seq-mean-token-sum": _seq_mean_token_sum,
    "seq-mean-token-sum-norm": _seq_mean_token_sum_norm,
}


def aggregate(
    how: Aggregation,
    values: Float[torch.Tensor, "row token"],
    mask: Bool[torch.Tensor, "row token"],
    limit: int,
) -> tuple[Float[torch.Tensor, ""], float]:
    """The sum and its denominator.

    Args:
        how: a key of :data:`AGGREGATIONS`.
        values: one number per token; values outside the mask are ignored, also NaN.
        mask: True on tokens that count.
        limit: the length limit of the rollout, tokens.
    """
    inside = torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))
    return AGGREGATIONS[how](inside, mask, limit)
