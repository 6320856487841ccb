"""What vectors add to a hidden state: by kinds of sentences, at coefficients of a grid or of a network.

All numbers are in units of a scale, the root mean square of a coordinate of the model's states at the place
of the vectors. So a length or a step size means the same in models whose states are large and in those whose
states are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch

NETWORK = ("trunk", "trunk bias", "head", "head bias")
"""Weights of the network by name: ``[hidden, dim]``, ``[hidden]``, ``[kind, hidden]``, ``[kind]``."""
FIRST_BIAS = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Shifts:
    """Vectors of a model.

    Args:
        vectors: of each kind, ``[kind, dim]``.
        bias: added to all of them, ``[dim]``.
        network: weights by the names in :data:`NETWORK`; empty: there is none.
        scale: of the states, one number.
    """

    vectors: Any
    bias: Any
    network: Mapping[str, Any]
    scale: Any

    def at(self, hidden: Any, kinds: Any, coefficient: float = 1.0) -> Any:
        """What is added to hidden states ``[row, dim]`` of kinds ``[row]``."""
        scale = self.scale.to(hidden.dtype)
        own = scale * (self.vectors[kinds] + self.bias).to(hidden.dtype)
        if not self.network:
            return coefficient * own
        return coefficient * self._strength(hidden / scale, kinds)[:, None] * own

    def _strength(self, hidden: Any, kinds: Any) -> Any:
        trunk, start, head, last = (self.network[name].to(hidden.dtype) for name in NETWORK)
        inside = torch.nn.functional.gelu(hidden @ trunk.T + start)
        return torch.nn.functional.softplus((inside * head[kinds]).sum(-1) + last[kinds])

    def random(self, generator: np.random.Generator, *, keep_bias: bool = False) -> Shifts:
        """The same with random directions, as long as what each kind adds.

        Args:
            generator: draws them.
            keep_bias: whether the bias keeps its direction, and only the kinds' own vectors lose theirs.
        """
        own = self.vectors if keep_bias else self.vectors + self.bias
        drawn = torch.from_numpy(generator.normal(size=tuple(own.shape))).to(own)
        unit = drawn / drawn.norm(dim=-1, keepdim=True)
        made = unit * own.norm(dim=-1, keepdim=True)
        return replace(self, vectors=made, bias=self.bias if keep_bias else torch.zeros_like(self.bias))

    def arrays(self) -> dict[str, NDArray]:
        """All numbers by name."""
        named = {"vectors": self.vectors, "bias": self.bias, "scale": self.scale, **self.network}
        return {f"shift {name}": one.detach().cpu().numpy() for name, one in named.items()}

    @staticmethod
    def of(arrays: Mapping[str, NDArray], device: Any) -> Shifts:
        """From what :meth:`arrays` gave."""
        found = {
            name.removeprefix("shift "): torch.as_tensor(np.asarray(one), device=device)
            for name, one in arrays.items()
            if name.startswith("shift ")
        }
        vectors, bias, scale = (found.pop(name) for name in ("vectors", "bias", "scale"))
        return Shifts(vectors=vectors, bias=bias, network=found, scale=scale)


def begun(
    count: int, width: int, hidden: int, scale: float, generator: np.random.Generator, device: Any
) -> Shifts:
    """Vectors of length 1 in random directions, no bias, and a network of ``hidden`` units unless that is 0."""

    def made(values: NDArray[Any]) -> Any:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(device)

    vectors = generator.normal(size=(count, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    network: dict[str, Any] = {}
    if hidden:
        ends = [np.sqrt(6 / (a + b)) for a, b in ((hidden, width), (count, hidden))]
        network = {
            "trunk": made(generator.uniform(-ends[0], ends[0], size=(hidden, width))),
            "trunk bias": made(np.full(hidden, FIRST_BIAS)),
            "head": made(generator.uniform(-ends[1], ends[1], size=(count, hidden))),
            "head bias": made(np.full(count, FIRST_BIAS)),
        }
    return Shifts(vectors=made(vectors), bias=made(np.zeros(width)), network=network, scale=made(scale))


def numbers_of(count: int, width: int, hidden: int) -> int:
    """Trained numbers: without a network one more vector, the bias."""
    if not hidden:
        return (count + 1) * width
    return count * width + hidden * (width + 1) + count * (hidden + 1)
