"""Key-value caches that are allocated once, for any Hugging Face model that takes ``past_key_values``.

Hugging Face's own dynamic cache concatenates at every token, which copies the whole past each time. Here
a layer writes into a preallocated buffer, and a prompt that was read once is branched into the rows
of its draws. The tiny model keeps the inputs of its short convolution in the same layer, so that every
operation on the cache (branching, dropping finished rows, beam search) applies to the convolution too.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import Cache, DynamicLayer

from keyturn.policies import kernels


class BufferLayer(DynamicLayer):
    """One layer's keys and values in a preallocated buffer, and the last inputs of a short convolution.

    ``keys`` and ``values`` are always the filled part, ``[row, head, token, dim]``, so that Hugging Face's
    code for dynamic layers works here. While gradients are recorded, nothing is written in place and the layer
    concatenates instead.

    Args:
        room: tokens that the buffer holds when it is first allocated; it doubles when it is full.
    """

    keys: Tensor  # type: ignore[assignment]
    values: Tensor  # type: ignore[assignment]

    def __init__(self, room: int = 0) -> None:
        super().__init__()
        self.room = room
        self.recent: Tensor | None = None
        """The last inputs of the short convolution, ``[row, kernel - 1, dim]``; None where there is none."""
        self.fused: Tensor | None = None
        """Projections fused for decoding without gradient; weights do not change while a cache lives."""
        self._buffers: tuple[Tensor, Tensor] | None = None
        self._view: Tensor | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Start empty, with the shapes and type of the first keys and values."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[3]))
        self.values = value_states.new_empty((*value_states.shape[:2], 0, value_states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Append keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if torch.is_grad_enabled() and (key_states.requires_grad or self.keys.requires_grad):
            self._buffers = self._view = None
            return super().update(key_states, value_states)
        start = self.keys.shape[2]
        stop = start + key_states.shape[2]
        if self._buffers is None or self.keys is not self._view or stop > self._buffers[0].shape[2]:
            self._allocate(max(self.room, stop, 0 if start == 0 else 2 * start))
        keys, values = self._buffers  # type: ignore[misc]
        keys[:, :, start:stop] = key_states
        values[:, :, start:stop] = value_states
        self.keys = self._view = keys[:, :, :stop]
        self.values = values[:, :, :stop]
        return self.keys, self.values

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of new tokens to everything up to themselves, ``[row, head, token, dim]``."""
        causal = mask is None and queries.shape[2] > 1
        keys, values = self.update(keys, values)
        if queries.shape[2] == 1 and queries.device.type == "cpu":
            return kernels.attend_once(queries, keys, values, mask)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal)

    def _allocate(self, room: int) -> None:
        """Allocate buffers for ``room`` tokens and copy the filled part into them."""
        filled = self.keys.shape[2]
        buffers = []
        for old in (self.keys, self.values):
            new = old.new_empty((*old.shape[:2], room, old.shape[3]))
            new[:, :, :filled] = old
            buffers.append(new)
        self._buffers = (buffers[0], buffers[1])
        self.keys = self._view = buffers[0][:, :, :filled]
        self.values = buffers[1][:, :, :filled]

    def shift(self, inputs: Tensor, width: int) -> Tensor:
        """``inputs`` preceded by the ``width`` inputs before them, ``[row, width + token, dim]``.

        The layer remembers the last ``width`` of them; zeros stand before the first token.
        """
        before = self.recent
        if before is None:
            before = inputs.new_zeros((inputs.shape[0], width, inputs.shape[2]))
        joined = torch.cat([before, inputs], dim=1)
        self.recent = joined[:, joined.shape[1] - width :]
        return joined

    def branch(self, rows: Tensor, room: int = 0) -> BufferLayer:
        """A new layer whose rows are ``rows`` (repeats allowed) of this one; gradients flow back.

        Args:
            rows: row numbers.
            room: tokens that the new buffer holds; 0 takes this layer's size.
        """
        new = BufferLayer(room or self.room)
        new.fused = self.fused
        new.recent = None if self.recent is None else self.recent.index_select(0, rows)
        if not self.is_initialized:
            return new
        new.lazy_initialization(self.keys, self.values)
        new.keys, new.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)
        if not new.keys.requires_grad:
            new._allocate(max(new.room, new.keys.shape[2]))
        return new

    def take(self, rows: Tensor) -> None:
        """Make ``rows`` (repeats allowed) the rows of this layer."""
        vars(self).update(vars(self.branch(rows)))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows in another order (beam search)."""
        self.take(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        self.take(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row."""
        if self.is_initialized:
            self.take(torch.arange(self.keys.shape[0], device=self.keys.device).repeat_interleave(repeats))

    def forget_last(self) -> None:
        """Forget the last token, so that the next one takes its place; impossible where a convolution
        remembers it."""
        if self.recent is not None:
            raise ValueError("a cache with a short convolution cannot be cropped")
        filled = self.keys.shape[2] - 1
        whole = self._buffers is not None and self.keys is self._view
        keys, values = self._buffers if whole else (self.keys, self.values)  # type: ignore[misc]
        self.keys, self.values = keys[:, :, :filled], values[:, :, :filled]
        self._view = self.keys if whole else None

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens; impossible where a convolution remembers fewer inputs than that."""
        if tokens_to_remove and self.recent is not None:
            raise ValueError("a cache with a short convolution cannot be cropped")
        super().crop(tokens_to_remove)

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.recent = self.fused = None
        self._buffers = self._view = None


def decoding_cache(config: PreTrainedConfig, room: int) -> Cache:
    """The cache for decoding ``config``'s model: full-attention layers are allocated once.

    Layers of another kind (sliding windows, recurrent states) stay Hugging Face's own.

    Args:
        config: the model's configuration.
        room: tokens that the cache holds, prompt included.
    """
    cache = DynamicCache(config=config.get_text_config(decoder=True))
    cache.layers[:] = [BufferLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def adopt(cache: Cache, layers: int) -> None:
    """Give an empty cache (such as ``generate()`` passes in) layers that remember the convolution.

    Raises:
        ValueError: the cache already holds tokens, or it is static.
    """
    if len(cache.layers) == layers and all(isinstance(layer, BufferLayer) for layer in cache.layers):
        return
    if cache.get_seq_length() > 0 or not isinstance(cache, DynamicCache):
        raise ValueError(
            f"a model with a short convolution needs a fresh DynamicCache, got {type(cache).__name__}"
            f" with {cache.get_seq_length()} tokens"
        )
    cache.layers[:] = [BufferLayer() for _ in range(layers)]


def branched(cache: Cache, rows: Tensor, room: int) -> Cache:
    """A new cache with ``rows`` (repeats allowed) of one from :func:`decoding_cache`; gradients flow back."""
    new = DynamicCache()
    for layer in cache.layers:
        if not isinstance(layer, BufferLayer):
            raise ValueError(f"a {type(layer).__name__} cannot be branched")
        new.layers.append(layer.branch(rows, room))
    return new


def select_rows(cache: Cache, rows: Tensor) -> None:
    """Make ``rows`` (repeats allowed, so prompts branch into draws) the rows of the whole cache."""
    cache.reorder_cache(rows)  # type: ignore[arg-type]


def without_cache(module: nn.Module) -> dict[str, Any]:
    """The argument that keeps a forward pass from building a cache, where the model accepts it."""
    known = inspect.signature(module.forward).parameters
    takes = "use_cache" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    return {"use_cache": False} if takes else {}
