"""Places inside a model where hidden states are read or changed: a layer and a side of it, for any
architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from jaxtyping import Bool, Float, Int

from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.policies.hooks import ForwardHook

Side: TypeAlias = Literal["in", "out", "attn", "mlp"]

_PARTS = {"attn": ("self_attn", "attn", "attention", "self_attention"), "mlp": ("mlp", "feed_forward", "ffn")}


class Places(NamedTuple):
    """The place of each hidden state of a forward pass. Shapes broadcast to ``[row, token]``."""

    position: Int[torch.Tensor, "row token"]
    """Counted from 0 at the prompt's first token, padding not counted."""
    prompt: Int[torch.Tensor, "row one"]
    """Number of tokens of the row's prompt."""
    token: Int[torch.Tensor, "row token"]
    """The token that was read there."""
    real: Bool[torch.Tensor, "row token"]
    """False on padding."""
    problem: Int[torch.Tensor, "row one"]
    draw: Int[torch.Tensor, "row one"]
    """The sampler's number of the row's draw; -1 where draws share a prompt."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A layer and a side of it.

    Args:
        layer: from 0.
        side: ``in`` and ``out``: the residual stream that enters and leaves the layer; ``attn`` and ``mlp``:
            the output that each of the two parts adds to it.
    """

    layer: int
    side: Side = "out"

    def __post_init__(self) -> None:
        if self.side not in get_args(Side):
            raise unknown("side of a layer", self.side, get_args(Side))

    def hook(self, model: Any, name: str, change: Callable[[Any], Any]) -> ForwardHook:
        """A hook that replaces the hidden state here by a function's result; None leaves it unchanged.

        Args:
            model: the model that contains the site.
            name: name of the hook.
            change: ``hidden [row, token, dim] -> hidden or None``.

        Raises:
            UsageError: the model has no such layer.
            InputError: its layers or their parts cannot be found.
        """
        module = self._module(model)

        def before(_: Any, args: tuple[Any, ...]) -> Any:
            new = change(args[0])
            return None if new is None else (new, *args[1:])

        def after(_: Any, args: tuple[Any, ...], output: Any) -> Any:
            # Blocks of some architectures return a tensor, of others a tuple that begins with it.
            new = change(output[0] if isinstance(output, tuple) else output)
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple) else new

        first = self.side == "in"
        return ForwardHook(name=name, module=module, run=before if first else after, before=first, config=name)

    def _module(self, model: Any) -> str:
        path, layers = layers_of(model)
        if not 0 <= self.layer < len(layers):
            raise UsageError(f"the model has no layer {self.layer}", fix=f"a layer from 0 to {len(layers) - 1}")
        if self.side in ("in", "out"):
            return f"{path}.{self.layer}"
        found = next((part for part in _PARTS[self.side] if hasattr(layers[self.layer], part)), None)
        if found is None:
            what = f"a {type(layers[self.layer]).__name__} has no part that is its {self.side}"
            raise InputError(what, fix="the side 'in' or 'out'")
        return f"{path}.{self.layer}.{found}"


def layers_of(model: Any) -> tuple[str, Any]:
    """The list of a model's layers and its dotted name.

    Raises:
        InputError: no list of modules has as many entries as the config has layers.
    """
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return name, module
    raise InputError(f"the layers of a {type(model).__name__} are not found", fix="another architecture")


def width_of(model: Any) -> int:
    """Width of a hidden state."""
    return int(model.config.get_text_config(decoder=True).hidden_size)


def residual(hidden: Float[torch.Tensor, "row token dim"]) -> Float[torch.Tensor, "row token dim"]:
    """Hidden states in at least 32 bits."""
    return hidden if hidden.dtype == torch.float64 else hidden.float()
