"""Interventions: changes of hidden states while a policy writes, where they act, and how long they last.

Formula, for a hidden state ``h``, a vector ``v`` with ``u = v / |v|`` and a coefficient ``c``::

    add          h + c v
    set          h + (c - h.u) u          the part along v becomes c
    project_out  h - c (h.u) u            c = 1: no part along v is left
    clamp        h + (clip(h.u, -c, c) - h.u) u
    function     h + c (f(h) - h)

*Where*: ``prompt`` (every token of it), ``first_step`` (its last token, from which the first written token is
drawn), ``generation`` (written tokens), ``all``; or a function of places. *Persistent*: the cache keeps the
keys and values of a token as computed under the intervention, and later tokens see them. *Transient*: only the
distribution of the next token changes; the cache keeps the keys and values of the model without the
intervention.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError, unknown
from keyturn.core.lazy import torch
from keyturn.policies.sites import Places, Site, width_of

Mode: TypeAlias = Literal["add", "set", "project_out", "clamp", "function"]
Where: TypeAlias = Literal["prompt", "first_step", "generation", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Intervention:
    """One change of hidden states.

    Args:
        name: name of the intervention.
        site: its place in the model.
        vector: ``[dim]``, unless a function is given.
        function: ``(hidden [row, token, dim], places) -> hidden``: a function at the top of a module, or a
            frozen dataclass.
        coefficient: one number, or several, of which draw ``d`` takes number ``d`` modulo their count.
        mode: see the module.
        where: see the module; or ``places -> bool [row, token]``.
        persistent: see the module.
        made_for: hash of the weights that the vector was computed from; ``""``: any model of its width.
    """

    name: str
    site: Site
    vector: NDArray[np.floating] | None = None
    function: Callable[[Any, Places], Any] | None = None
    coefficient: float | tuple[float, ...] = 1.0
    mode: Mode = "add"
    where: Where | Callable[[Places], Any] = "generation"
    persistent: bool = True
    made_for: str = ""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise unknown("mode of an intervention", self.mode, get_args(Mode))
        if isinstance(self.where, str) and self.where not in get_args(Where):
            raise unknown("place of an intervention", self.where, get_args(Where))
        if (self.mode == "function") != (self.function is not None) or (
            (self.mode == "function") == (self.vector is not None)
        ):
            what = f"the intervention {self.name} has the mode {self.mode} and not what belongs to it"
            raise UsageError(what, fix="a function for the mode function, a vector for every other")
        if self.vector is not None and not np.isfinite(self.vector).all():
            raise UsageError(f"the vector of {self.name} holds what is no number", fix="a finite vector")
        if isinstance(self.coefficient, tuple) and not self.coefficient:
            raise UsageError(f"the intervention {self.name} has no coefficient", fix="one number or more")

    def check(self, model: Any, weights: str) -> None:
        """Refuse a model that the intervention was not made for.

        Args:
            model: the model that it is to act on.
            weights: hash of the model's weights.

        Raises:
            UsageError: the model lacks the layer, has another width, or has other weights than the vector's.
        """
        self.site.hook(model, self.name, _nothing)
        width = width_of(model)
        if self.vector is not None and self.vector.shape != (width,):
            what = f"the vector of {self.name} has the shape {self.vector.shape}, the model the width {width}"
            raise UsageError(what, fix="a vector that was made with this model")
        if self.made_for and self.made_for != weights:
            what = f"the vector of {self.name} was made with another model (weights {self.made_for[:12]})"
            raise UsageError(what, fix="make it anew with this model")

    @property
    def by_place(self) -> bool:
        """Whether draws of one problem may have different interventions on their prompt."""
        return callable(self.where) or isinstance(self.coefficient, tuple)

    @property
    def on_prompts(self) -> bool:
        """Whether it may act on tokens of a prompt. A function of places may say that it never does, by an
        attribute ``only_written``."""
        return self.where != "generation" and not getattr(self.where, "only_written", False)

    def strength(self, places: Places, dtype: Any) -> tuple[Any, Any]:
        """The places where it acts, bool ``[row, token]``, and its coefficients there, ``[row, token]``."""
        if callable(self.where):
            active = self.where(places)
        elif self.where == "first_step":
            active = places.position == places.prompt - 1
        elif self.where == "all":
            active = torch.ones_like(places.real)
        else:
            written = places.position >= places.prompt
            active = written if self.where == "generation" else ~written
        active = active.expand(places.real.shape) & places.real
        if isinstance(self.coefficient, tuple):
            several = torch.tensor(self.coefficient, dtype=dtype, device=active.device)
            return active, several[places.draw % len(self.coefficient)].expand(active.shape)
        return active, torch.full(active.shape, float(self.coefficient), dtype=dtype, device=active.device)

    def applied(self, hidden: Any, active: Any, coefficient: Any, places: Places) -> Any:
        """Hidden states after it, ``[row, token, dim]``; where it does not act they stay the same to the last
        bit."""
        if self.function is not None:
            changed = hidden + coefficient[..., None] * (self.function(hidden, places) - hidden)
        else:
            vector = torch.as_tensor(np.asarray(self.vector), dtype=hidden.dtype, device=hidden.device)
            changed = hidden + self._shift(hidden, vector, coefficient)
        return torch.where(active[..., None], changed.to(hidden.dtype), hidden)

    def _shift(self, hidden: Any, vector: Any, coefficient: Any) -> Any:
        if self.mode == "add":
            return coefficient[..., None] * vector
        length = vector.norm()
        unit = torch.where(length > 0, vector / length.clamp_min(torch.finfo(vector.dtype).tiny), vector)
        along = hidden @ unit
        if self.mode == "set":
            move = torch.where(length > 0, coefficient - along, torch.zeros_like(along))
        elif self.mode == "project_out":
            move = -coefficient * along
        else:
            move = torch.minimum(torch.maximum(along, -coefficient), coefficient) - along
        return move[..., None] * unit

    def at(self, coefficient: float | tuple[float, ...]) -> Intervention:
        """The same with another coefficient."""
        return dataclasses.replace(self, coefficient=coefficient)


def _nothing(hidden: Any) -> None:
    return None
