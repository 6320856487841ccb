"""Whether the decoder layers of a model may be run again in the backward pass: tried once on a few tokens."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from keyturn.policies.batching import Texts
from keyturn.policies.recompute import layers_of
from keyturn.policies.scorer import policy_tokens
from keyturn.policies.trial import attempt, two_prompts

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TRIED: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()
_TOLERANCE = 1e-3
"""Largest relative distance of the two gradients of the trial."""


def can_recompute(model: PreTrainedModel) -> bool:
    """Whether the layers of a model, with the hooks that are on it, may be run again.

    Hooks inside a layer would run twice, so a model that has any is left alone. The gradient is tried out once.
    """
    layers = layers_of(model)
    if not layers or any(getattr(part, name) for layer in layers for part in _inside(layer) for name in _HOOKS):
        return False
    if model not in _TRIED:
        _TRIED[model] = _tried(model)
    return _TRIED[model]


def _inside(layer: nn.Module) -> Iterator[nn.Module]:
    return (part for part in layer.modules() if part is not layer)


def _tried(model: PreTrainedModel) -> bool:
    """Whether both ways give the same log-probabilities and gradient: two prompts, three completions."""
    texts = two_prompts(model)
    # The first layer's smallest parameter: its gradient comes through every other layer.
    first = [one for one in layers_of(model)[0].parameters() if one.requires_grad]
    if not first:
        return False
    parameter = min(first, key=torch.numel)
    found: list[tuple[Tensor, Tensor]] = []
    state = torch.random.get_rng_state()
    for recompute in (False, True):
        torch.random.set_rng_state(state)  # the same dropout, where a model trains with it
        read = attempt(lambda recompute=recompute: _read(model, texts, parameter, recompute=recompute))
        if read is None:
            return False
        found.append(read)
    return all(_near(one, other) for one, other in zip(*found, strict=True))


def _read(model: PreTrainedModel, texts: Texts, parameter: Tensor, *, recompute: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and the gradient of their sum by one parameter."""
    scores = policy_tokens(model, texts, share=True, recompute=recompute).logprobs
    (gradient,) = torch.autograd.grad(scores.sum(), [parameter])
    return scores.detach(), gradient


def _near(one: Tensor, other: Tensor) -> bool:
    scale = float(one.float().norm())
    return float((one - other).float().norm()) <= _TOLERANCE * max(scale, 1e-6)
