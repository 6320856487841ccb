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
        name: name of the hook; part of the policy's fingerprint.
        module: dotted name of the module, e.g. ``"model.layers.1"``.
        run: ``(module, args, output) -> output or None`` after the module, or ``(module, args) -> args or
            None`` before it; None changes nothing.
        before: whether ``run`` is called before the module.
        config: the parameters that ``run`` was built from, as plain data; a closure needs it, since its source
            does not show the values that it holds. Part of the policy's fingerprint.
    """

    name: str
    module: str
    run: Callable[..., Any]
    before: bool = False
    config: object = None


@contextlib.contextmanager
def hooked(model: torch.nn.Module, hooks: Sequence[ForwardHook]) -> Iterator[None]:
    """Put hooks on a model for the length of a block and remove them afterwards, even after an error.

    Raises:
        UsageError: a hook names a module that the model does not have.
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
    """Switch off dropout and gradients for the length of a block; the model's own mode is restored after it."""
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
    """A logit processor's view of the rows that are being decoded.

    Rows are dropped when they have ended, so a processor must not keep state by row index; ``problem`` and
    ``draw`` identify a row.
    """

    tokens: Int[torch.Tensor, "row past"]
    """Prompt (padded on the left) and generated tokens."""
    start: int
    """Index of the first generated token."""
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
