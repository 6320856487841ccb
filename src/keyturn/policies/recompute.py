"""Activation checkpointing of the learning pass: a decoder layer keeps its inputs and is run again.

    kept per token = L (d + 2 k) b        instead of        L (10 d + 4 f) b

for ``L`` layers of width ``d``, feed-forward width ``f`` and keys of width ``k``, with ``b`` bytes per number,
and one layer's activations while that layer is run again. It costs one more forward pass; the gradient is the
same.

transformers has checkpointing of its own, but it gives up the cache, and with it the prompt that the draws of
a group share. Here the cache of a learning pass (:class:`ReadAgain`) answers a second run of a layer as it
answered the first, so both go together. Some architectures read another layer's cache, which a layer that is
run again would find changed: whether a model allows it is tried (:mod:`keyturn.policies.recomputable`).
Source: Chen et al. 2016 (arXiv:1604.06174), checkpoints at every layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from keyturn.policies.cache import BufferLayer


class ReadAgain(BufferLayer):
    """One layer's keys and values, written once and never changed, so that its layer may be run twice."""

    def __init__(self) -> None:
        super().__init__(0)
        self._past: tuple[Tensor, Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """The past, if there is one, followed by what is given; only a first prompt is remembered."""
        if self._past is not None:
            keys, values, rows = self._past
            return (
                torch.cat([keys.index_select(0, rows), key_states], dim=2),
                torch.cat([values.index_select(0, rows), value_states], dim=2),
            )
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states, value_states
        return key_states, value_states

    def branch(self, rows: Tensor, room: int = 0) -> ReadAgain:
        """A layer whose past is ``rows`` (repeats allowed) of this one; they are copied while it is run."""
        new = ReadAgain()
        new.lazy_initialization(self.keys, self.values)
        new.keys, new.values = self.keys, self.values  # their number of tokens is asked for
        new._past = (self.keys, self.values, rows)
        return new


def learning_cache(config: PreTrainedConfig) -> Cache:
    """The cache of a pass whose layers are run again, for a model whose layers are all plain attention."""
    cache = DynamicCache(config=config.get_text_config(decoder=True))
    cache.layers[:] = [ReadAgain() for _ in cache.layers]
    return cache


@contextlib.contextmanager
def recomputing(model: PreTrainedModel) -> Iterator[None]:
    """Within the block every decoder layer keeps only its inputs; the model is left as it was.

    Backward passes may come after the block.
    """
    layers = layers_of(model)
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _checkpointed(layer.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            del layer.forward
            if own is not None:
                layer.forward = own


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The outermost layers that transformers would checkpoint; none where it already does."""
    found = {name: part for name, part in model.named_modules() if isinstance(part, GradientCheckpointingLayer)}
    if any(part.gradient_checkpointing for part in found.values()):
        return []
    return [
        part
        for name, part in found.items()
        if not any(name != other and name.startswith(f"{other}.") for other in found)
    ]


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
