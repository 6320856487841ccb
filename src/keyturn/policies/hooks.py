"""Interventions on a model while it runs: forward hooks that leave nothing behind, and logit processors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from jaxtyping import Int

from keyturn.core.errors import unknown
from keyturn.core.lazy import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class ForwardHook:
    """A forward hook on one module.

    Args:
        name: what it is called; part of the policy's fingerprint.
        module: dotted name of the module, e.g. ``"model.layers.1"``.
        run: ``(module, args, output) -> output or None`` after the module, or ``(module, args) -> args or
            None`` before it; None leaves things as they are.
        before: run before the module.
        config: what ``run`` was made from, as plain data; a function made inside another one needs it, since
            its text does not show what it holds. Part of the policy's fingerprint.
    """

    name: str
    module: str
    run: Callable[..., Any]
    before: bool = False
    config: object = None


@contextlib.contextmanager
def hooked(model: torch.nn.Module, hooks: Sequence[ForwardHook]) -> Iterator[None]:
    """Put hooks on a model for the length of a block; they are gone afterwards, whatever happened in it.

    Raises:
        UsageError: a hook names a module that the model has not.
    """
    modules = dict(model.named_modules()) if hooks else {}
    for hook in hooks:
        if hook.module not in modules:
            raise unknown("module", hook.module, modules)
    handles: list[torch.utils.hooks.RemovableHandle] = []
    try:
        for hook in hooks:
            module = modules[hook.module]
            add = module.register_forward_pre_hook if hook.before else module.register_forward_hook
            handles.append(add(hook.run))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """No dropout and no gradient for the length of a block; the model is given back as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


class SoFar(NamedTuple):
    """What a logit processor sees of the rows that are being decoded.

    Rows are dropped when they have ended, so a processor keeps no state by row index; ``problem`` and
    ``draw`` say which row is which.
    """

    tokens: Int[torch.Tensor, "row past"]
    """Prompt (padded on the left) and what was generated since."""
    start: int
    """Where the generated tokens begin."""
    problem: Int[torch.Tensor, " row"]
    draw: Int[torch.Tensor, " row"]


class Processor(Protocol):
    """Shapes the distribution of the next token."""

    @property
    def name(self) -> str:
        """Identity, parameters included; part of the policy's fingerprint."""
        ...

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """New logits ``[row, vocab]``; must not change its argument in place."""
        ...
