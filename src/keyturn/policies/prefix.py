"""Decoding many draws of one prompt without copying the prompt's keys and values into every row.

A row attends to its prompt (stored once per prompt) and to its own tokens (stored once per row)::

    out = softmax([q K_prompt^T, q K_own^T] / sqrt(d)) [V_prompt; V_own]

with one softmax over both, so it is ordinary attention. All rows of a prompt are multiplied with its keys
together, which reads the keys once instead of once per row: at 8 draws of a 70-token prompt this halves the
memory traffic of decoding. Idea: Juravsky et al., Hydragen, arXiv 2402.05099, 2024 (there with two softmaxes
that are merged afterwards).
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from keyturn.policies import kernels
from keyturn.policies.cache import BufferLayer

_UNEVEN = 3
"""Sharing stops where padding every prompt to the largest number of rows multiplies the rows by this much."""


LEAST_TOKENS = 24
"""Prompts shorter than this are copied: measured at 0.34M parameters, the copy is cheaper there."""


class PrefixLayer(BufferLayer):
    """A layer whose rows share the keys and values of their prompts; one new token at a time.

    ``keys`` and ``values`` hold the rows' own tokens only.

    Args:
        keys: the prompts' keys, ``[prompt, head, token, dim]``.
        values: the prompts' values.
        mask: additive, hides the prompts' padding, ``[prompt, 1, 1, token]``; None where there is none.
        owner: prompt of each row, ``[row]``.
        room: most tokens of a row itself.
    """

    def __init__(self, keys: Tensor, values: Tensor, mask: Tensor | None, owner: Tensor, room: int) -> None:
        super().__init__(room)
        self._prompt_keys, self._prompt_values, self._mask, self._owner = keys, values, mask, owner
        self._group()

    def _group(self) -> None:
        """Lay the rows out as ``[prompt, rows of it]``, padded with repeats where they are uneven."""
        prompts, owner = self._prompt_keys.shape[0], self._owner
        counts = torch.bincount(owner, minlength=prompts)
        self._width = int(counts.max())
        order = torch.argsort(owner, stable=True)
        starts = counts.cumsum(0) - counts
        within = torch.empty_like(owner)
        within[order] = torch.arange(len(owner), device=owner.device) - starts[owner[order]]
        slot = owner * self._width + within
        self._slot: Tensor | None = None
        self._taken: Tensor | None = None
        if len(owner) != prompts * self._width or not torch.equal(
            slot, torch.arange(len(slot), device=slot.device)
        ):
            self._slot = slot
            self._taken = torch.zeros(prompts * self._width, dtype=torch.long, device=slot.device)
            self._taken[slot] = torch.arange(len(slot), device=slot.device)

    @property
    def worth_it(self) -> bool:
        """Whether laying rows out by prompt costs little."""
        return self._prompt_keys.shape[0] * self._width <= _UNEVEN * len(self._owner)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of one new token a row, ``[row, head, 1, dim]``."""
        if queries.shape[2] != 1 or mask is not None:
            raise ValueError("rows that share their prompts are read one token at a time, without a mask")
        own_keys, own_values = self.update(keys, values)
        prompts, heads, past, dim = self._prompt_keys.shape
        grouped = self._by_prompt(queries[:, :, 0] * dim**-0.5)
        shared = torch.bmm(grouped, self._prompt_keys.flatten(0, 1).transpose(1, 2))
        shared = shared.view(prompts, heads, self._width, past)
        shared = self._by_row(shared if self._mask is None else shared + self._mask)
        weights = torch.cat([shared[:, :, None], kernels.scores_once(queries, own_keys)], dim=-1).softmax(-1)
        grouped = self._by_prompt(weights[:, :, 0, :past])
        mixed = torch.bmm(grouped, self._prompt_values.flatten(0, 1)).view(prompts, heads, self._width, dim)
        return kernels.mix_once(weights[..., past:], own_values).add_(self._by_row(mixed)[:, :, None])

    def _by_prompt(self, rows: Tensor) -> Tensor:
        """``[row, head, x]`` to ``[prompt * head, rows of it, x]``."""
        laid = rows if self._taken is None else rows.index_select(0, self._taken)
        return laid.reshape(-1, self._width, *rows.shape[1:]).transpose(1, 2).flatten(0, 1)

    def _by_row(self, grouped: Tensor) -> Tensor:
        """``[prompt, head, rows of it, x]`` to ``[row, head, x]``."""
        flat = grouped.transpose(1, 2).reshape(-1, grouped.shape[1], grouped.shape[3])
        return flat if self._slot is None else flat.index_select(0, self._slot)

    def branch(self, rows: Tensor, room: int = 0) -> BufferLayer:
        """A layer with some of the rows; prompts without rows are dropped."""
        own = super().branch(rows, room)
        used, owner = torch.unique(self._owner[rows], return_inverse=True)
        mask = None if self._mask is None else self._mask[used]
        new = PrefixLayer(self._prompt_keys[used], self._prompt_values[used], mask, owner, own.room)
        state = {key: value for key, value in vars(own).items() if key in vars(BufferLayer())}
        vars(new).update(state)
        return new

    def get_seq_length(self) -> int:
        """Tokens of prompt and row together."""
        return self._prompt_keys.shape[2] + super().get_seq_length()


def share_prompts(cache: Cache, owner: Tensor, seen: Tensor | None, room: int) -> bool:
    """Turn the cache of some prompts into one whose rows share them; False where it does not pay.

    Args:
        cache: filled with the prompts, one row each, all layers :class:`BufferLayer`.
        owner: prompt of each row, ``[row]``.
        seen: 0 on the prompts' padding, ``[prompt, token]``; None where there is none.
        room: tokens that a row itself may have.
    """
    layers = []
    for layer in cache.layers:
        if not isinstance(layer, BufferLayer) or layer.get_seq_length() < LEAST_TOKENS:
            return False
        mask = None
        if seen is not None:
            mask = layer.keys.new_zeros(seen.shape).masked_fill(seen == 0, torch.finfo(layer.keys.dtype).min)
            mask = mask[:, None, None]
        keys, values = layer.keys.contiguous(), layer.values.contiguous()
        new = PrefixLayer(keys, values, mask, owner, room)
        new.recent = None if layer.recent is None else layer.recent.index_select(0, owner)
        new.fused = layer.fused
        layers.append(new)
    if len(owner) < 2 * len(layers[0]._prompt_keys) or not layers[0].worth_it:
        return False
    cache.layers[:] = layers
    return True
