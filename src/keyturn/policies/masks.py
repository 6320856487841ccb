"""Additive masks (which tokens a new token may see) and positions, from the masks that callers pass."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def additive_mask(
    attention_mask: Tensor | None, hidden: Float[Tensor, "row token dim"], past: int
) -> tuple[Tensor | None, Tensor | None]:
    """The mask that attention adds to its scores, and which of the new tokens are real (None: all).

    Args:
        attention_mask: None; 0 / 1 ``[row, past + token]``; or complete with four axes, boolean or additive.
        hidden: embeddings of the new tokens.
        past: number of cached tokens.
    """
    tokens = hidden.shape[1]
    if attention_mask is not None and attention_mask.dim() == 4:
        if attention_mask.dtype == torch.bool:
            attention_mask = _hidden(~attention_mask, hidden)
        return attention_mask, None
    if attention_mask is not None and hidden.device.type == "cpu" and bool(attention_mask.all()):
        attention_mask = None
    if tokens == 1:
        if attention_mask is None:
            return None, None
        seen = attention_mask[:, None, None, :].bool()
        return _hidden(~seen, hidden), None
    if attention_mask is None and past == 0:
        return None, None
    ahead = torch.ones(tokens, past + tokens, dtype=torch.bool, device=hidden.device).triu(past + 1)
    hide, real = ahead[None, None], None
    if attention_mask is not None:
        seen = attention_mask.bool()
        hide = hide | ~seen[:, None, None, :]
        real = seen[:, past:, None]
    return _hidden(hide, hidden), real


def _hidden(hide: Tensor, hidden: Tensor) -> Tensor:
    """Zero where attention may look, else a large negative number (finite, since padding has a softmax too)."""
    return hidden.new_zeros(hide.shape).masked_fill(hide, torch.finfo(hidden.dtype).min)


def positions(attention_mask: Tensor | None, hidden: Tensor, past: int) -> Tensor:
    """Position of each new token: its index, not counting padding on the left."""
    if attention_mask is not None and attention_mask.dim() == 2:
        return (attention_mask.long().cumsum(-1) - 1).clamp_min(0)[:, past:]
    return torch.arange(past, past + hidden.shape[1], device=hidden.device)[None]
