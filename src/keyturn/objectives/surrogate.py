"""The clipped surrogate of tokens with credit, and the penalty towards a reference.

``ratio = exp(l - l_behaviour)`` with log-probabilities ``l`` (``[row, token]``, or ``[row]`` for a whole
sequence). ``clipped = min(ratio * A, clip(ratio, 1 - low, 1 + high) * A)``; its gradient is zero if
``A > 0, ratio > 1 + high`` or ``A < 0, ratio < 1 - low``.
Degenerate: with one update per rollout the ratio is 1 up to the rounding gap between sampler and trainer, so
nothing is clipped and the surrogate's gradient is that of ``A * l``.
Known bias: clipping stops an update early; beyond ratio 1 it estimates nothing.
Source: PPO (Schulman et al. 2017, 1707.06347, eq. 7); k3: Schulman 2020, "Approximating KL divergence". Its
gradient
as a loss and as a reward: ``keyturn.objectives.kl``.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float

from keyturn.core.lazy import torch


class Clipped(NamedTuple):
    """The surrogate, and the tokens on which clipping switched its gradient off, by side."""

    value: Float[torch.Tensor, "*axes"]
    high: Float[torch.Tensor, "*axes"]
    low: Float[torch.Tensor, "*axes"]


def clipped(
    ratio: Float[torch.Tensor, "*axes"], credit: Float[torch.Tensor, "*axes"], low: float, high: float
) -> Clipped:
    """The clipped surrogate (to be maximised) and indicators of clipping."""
    value = torch.minimum(ratio * credit, ratio.clamp(1 - low, 1 + high) * credit)
    with torch.no_grad():
        above = ((credit > 0) & (ratio > 1 + high)).to(ratio.dtype)
        below = ((credit < 0) & (ratio < 1 - low)).to(ratio.dtype)
    return Clipped(value, above, below)


def k3(gap: Float[torch.Tensor, "*axes"]) -> Float[torch.Tensor, "*axes"]:
    """``exp(-gap) + gap - 1``, ``gap = l - l_reference``: never negative, unbiased for the KL."""
    return torch.exp(-gap) + gap - 1
