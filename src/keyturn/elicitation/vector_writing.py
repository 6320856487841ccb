"""Writing with vectors: where a gate fires, the next token comes from the model with a vector in its last
state.

At every token base and teacher read on. Where the gate fires, the kind is the one that the teacher's hidden
state is most of. *Grid*: for every coefficient ``g`` of the grid the likeliest token of the base under
``g (b + v_c)`` is a candidate, and the one that the teacher finds likeliest is written, whatever the sampling.
*Network*: the next token is drawn from the base under ``a_c(h) v_c``. The vector stands in the last state alone
and is gone at the next token.

Teacher bits of a token at which the gate fires: ``log2`` of the number of kinds, where the teacher tells the
kind, and in a grid ``log2`` of the number of different candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.elicitation.gates import Gate, Seen, StepNotes, as_wide
from keyturn.elicitation.sentences import values
from keyturn.elicitation.shifts import Shifts
from keyturn.policies.beside import LastState, ReadsAlong, SteeredBeside
from keyturn.policies.hooks import SoFar
from keyturn.policies.local import LocalPolicy


@dataclass(frozen=True, kw_only=True, eq=False)
class Steers:
    """A processor that takes the law of the steered base at some tokens.

    Args:
        teacher: the other model.
        gate: where.
        vectors: what is added, as arrays, from which ``shifts`` are made.
        coefficients: the grid; empty: the network's.
        kinds: what tells the kind from the teacher's state, from
            :meth:`keyturn.elicitation.sentences.Kinds.arrays`.
        used: kinds that have a vector, ``[kind]``.
        guessed: the kind is drawn at random among these instead.
        dice: two numbers for every token of every row by problem and draw, ``[2, problem, draw, token]``: the
            gate acts where the first one is below ``taking``, the second one draws kinds.
        taking: see there.
        first: number of the first draw.
        shifts: what is added.
        along: reads with the teacher.
        beside: reads with the base.
        told: the teacher's hidden states.
        states: the base's hidden states, for a gate that reads them.
    """

    teacher: LocalPolicy
    gate: Gate
    vectors: Mapping[str, NDArray]
    coefficients: tuple[float, ...]
    kinds: Mapping[str, NDArray]
    used: NDArray[np.bool_]
    guessed: bool
    dice: NDArray[np.float64]
    taking: float
    first: int
    shifts: Shifts = field(compare=False)
    along: ReadsAlong = field(compare=False)
    beside: SteeredBeside = field(compare=False)
    told: LastState = field(compare=False)
    states: LastState | None = field(default=None, compare=False)
    notes: StepNotes = field(default_factory=StepNotes, compare=False)

    @property
    def name(self) -> str:
        """What it is called."""
        return "vectors where two models differ"

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the base, or of the steered base."""
        teacher = as_wide(self.along.logits(so_far), logits).log_softmax(-1)
        self.beside.follow(so_far)
        state = None if self.states is None else self.states.states(so_far)
        step = so_far.tokens.shape[1] - so_far.start
        dice = self.dice[:, so_far.problem.cpu().numpy(), so_far.draw.cpu().numpy() - self.first, step]
        fires = self.gate(Seen(logits.log_softmax(-1), teacher, state))
        chosen = fires & torch.as_tensor(dice[0] < self.taking, device=logits.device)
        bits = torch.zeros(len(logits), dtype=torch.float64, device=logits.device)
        if bool(chosen.any()):
            kinds = self._kinds(so_far, dice[1]).to(logits.device)
            many = int(self.used.sum())
            if not self.guessed and many > 1:
                bits += float(np.log2(many))
            steered, told = self._steered(so_far, kinds, teacher)
            bits += told
            logits = torch.where(chosen[:, None], steered.to(logits.dtype), logits)
        self.notes.add(so_far, torch.stack([chosen.double(), bits * chosen], -1))
        return logits

    def _kinds(self, so_far: SoFar, dice: NDArray[np.float64]) -> Any:
        """Kind of every row, ``[row]``."""
        there = np.flatnonzero(self.used)
        if self.guessed:
            return torch.from_numpy(there[np.minimum((dice * len(there)).astype(np.int64), len(there) - 1)])
        if len(there) == 1:
            return torch.full((len(dice),), int(there[0]))
        states = self.told.states(so_far)
        tells = {name: torch.as_tensor(one, device=states.device) for name, one in self.kinds.items()}
        found = values(tells, states, torch)
        found[:, torch.from_numpy(~self.used).to(found.device)] = -torch.inf
        return found.argmax(-1)

    def _steered(self, so_far: SoFar, kinds: Any, teacher: Any) -> tuple[Any, Any]:
        """Logits under the vectors, ``[row, vocab]``, and the bits that a choice of a coefficient tells,
        ``[row]``."""
        here = kinds.to(self.shifts.vectors.device)

        def under(coefficient: float) -> Any:
            found = self.beside.logits(so_far, lambda state: state + self.shifts.at(state, here, coefficient))
            return found.to(teacher.device)

        if not self.coefficients:
            return under(1.0), 0.0
        candidates = torch.stack([under(one).argmax(-1) for one in self.coefficients], -1)
        best = teacher.gather(1, candidates).argmax(-1, keepdim=True)
        written = candidates.gather(1, best)
        only = torch.full_like(teacher, -torch.inf).scatter(1, written, 0.0)
        ordered = candidates.sort(-1).values
        different = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(-1)
        return only, different.double().log2()
