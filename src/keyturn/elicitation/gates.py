"""Gates: at which tokens a hybrid of two models takes the other one's token.

Formula, for the base's law ``b``, the teacher's law ``t`` and the base's hidden state ``h`` before a token::

    disagree    argmax b != argmax t
    divergence  KL(t || b) > threshold
    planning    argmax t is a planning token
    uncertain   H(b) > threshold              the base alone finds the place
    student     h . probe > threshold         the base alone finds the place
    everywhere  always

A gate that looks at the teacher tells the base something by firing, which counts as information; see
:func:`gate_bits`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.policies.beside import LastState, ReadsAlong
from keyturn.policies.hooks import SoFar
from keyturn.policies.local import LocalPolicy

GateName: TypeAlias = Literal["disagree", "divergence", "planning", "uncertain", "student", "everywhere"]


class Seen(NamedTuple):
    """What a gate may look at: log-probabilities at temperature 1, ``[row, vocab]``, and hidden states."""

    base: Any
    teacher: Any
    state: Any
    """``[row, dim]``, or None where no gate reads it."""


class Gate(Protocol):
    """Decides for every row whether the other model's token is taken."""

    @property
    def asks_teacher(self) -> bool:
        """Whether the teacher's law decides."""
        ...

    def __call__(self, seen: Seen) -> Any:
        """bool ``[row]``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Disagree:
    """The two likeliest tokens differ."""

    asks_teacher: bool = True

    def __call__(self, seen: Seen) -> Any:
        """Fire where they do."""
        return seen.base.argmax(-1) != seen.teacher.argmax(-1)


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The teacher's law is far from the base's."""

    threshold: float
    """Nats."""
    asks_teacher: bool = True

    def __call__(self, seen: Seen) -> Any:
        """Fire where the divergence is above the threshold."""
        return divergence(seen) > self.threshold


@dataclass(frozen=True, kw_only=True)
class Planning:
    """The teacher's likeliest token is a planning token."""

    tokens: tuple[int, ...]
    asks_teacher: bool = True

    def __call__(self, seen: Seen) -> Any:
        """Fire where it is."""
        return torch.isin(seen.teacher.argmax(-1), torch.tensor(self.tokens, device=seen.teacher.device))


@dataclass(frozen=True, kw_only=True)
class Uncertain:
    """The base's own law has a high entropy."""

    threshold: float
    """Nats."""
    asks_teacher: bool = False

    def __call__(self, seen: Seen) -> Any:
        """Fire where the entropy is above the threshold."""
        return entropy(seen) > self.threshold


@dataclass(frozen=True, kw_only=True, eq=False)
class Student:
    """A linear probe of the base's hidden state, trained to tell where the teacher disagrees."""

    probe: NDArray[np.float64]
    """``[dim]``."""
    threshold: float
    asks_teacher: bool = False

    def __call__(self, seen: Seen) -> Any:
        """Fire where the probe is above its threshold."""
        return seen.state @ torch.as_tensor(self.probe, device=seen.state.device) > self.threshold


@dataclass(frozen=True, kw_only=True)
class Everywhere:
    """Every token."""

    asks_teacher: bool = False

    def __call__(self, seen: Seen) -> Any:
        """Fire."""
        return torch.ones(len(seen.base), dtype=torch.bool, device=seen.base.device)


def divergence(seen: Seen) -> Any:
    """``KL(teacher || base)`` in nats, ``[row]``."""
    law = seen.teacher.exp()
    # A token that the teacher cannot say adds nothing, whatever the base thinks of it.
    ratio = torch.where(law > 0, seen.teacher - seen.base, torch.zeros_like(law))
    return (law * ratio).sum(-1)


def entropy(seen: Seen) -> Any:
    """The base's entropy in nats, ``[row]``."""
    return torch.special.entr(seen.base.exp()).sum(-1)


def gate_bits(fired: NDArray[np.floating], tokens: NDArray[np.floating]) -> NDArray[np.float64]:
    """What a gate that looks at the teacher tells by where it fires: ``T H2(n / T)`` bits an answer, the length
    of a code for which ``n`` of ``T`` tokens it chose.

    Args:
        fired: tokens at which it fired, ``[row]``.
        tokens: tokens of the answer, ``[row]``.
    """
    share = np.divide(fired, tokens, out=np.zeros(len(fired)), where=tokens > 0)
    inside = np.clip(share, np.finfo(float).tiny, 1.0)
    outside = np.clip(1.0 - share, np.finfo(float).tiny, 1.0)
    return -tokens * (share * np.log2(inside) + (1.0 - share) * np.log2(outside))


class StepNotes:
    """Numbers that a processor notes of every row at every token.

    Of the processor :class:`Swap`: whether the teacher chose; if watched, divergence, entropy, and whether the
    two disagree.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Any, Any, Any]] = []

    def add(self, so_far: SoFar, values: Any) -> None:
        """Note ``values [row, note]`` of the token that is drawn next."""
        self._steps.append((so_far.problem.cpu(), so_far.draw.cpu(), values.cpu()))

    def rows(
        self, problem: NDArray[np.integer], draw: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], ...]:
        """What was noted of each row, ``[token, note]``; the record is then cleared."""
        found: dict[tuple[int, int], list[list[float]]] = {}
        width = self._steps[0][2].shape[1] if self._steps else 1
        for problems, draws, values in self._steps:
            keys = zip(problems.tolist(), draws.tolist(), strict=True)
            for key, value in zip(keys, values.tolist(), strict=True):
                found.setdefault(key, []).append(value)
        self._steps.clear()
        keys = zip(problem.tolist(), draw.tolist(), strict=True)
        return tuple(
            np.array(found.get(key, [])[:size], dtype=np.float64).reshape(-1, width)
            for key, size in zip(keys, lengths.tolist(), strict=True)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Swap:
    """A processor that writes with the base and takes the teacher's law at some tokens, or the other way round.

    Args:
        teacher: the other model; None: nothing is swapped, only watched.
        gate: where the base's and the teacher's law change places.
        backwards: the teacher writes, and the base's law is taken where the gate fires.
        within: the teacher chooses among this many of the base's likeliest tokens; 0: among all.
        dice: one number for every token of every row by problem and draw, ``[problem, draw, token]``.
        taking: the gate acts where the number is below this.
        first: number of the first draw.
        along: reads with the teacher.
        states: the base's hidden states, for a gate that reads them.
        watch: keep the laws' divergence, entropy and disagreement of every token.
    """

    teacher: LocalPolicy
    gate: Gate
    backwards: bool = False
    within: int = 0
    dice: NDArray[np.float64]
    taking: float = 1.0
    first: int = 0
    along: ReadsAlong = field(compare=False)
    states: LastState | None = field(default=None, compare=False)
    watch: bool = field(default=False, compare=False)
    notes: StepNotes = field(default_factory=StepNotes, compare=False)

    @property
    def name(self) -> str:
        """What it is called."""
        return "two models in turn"

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Logits of whichever model chooses the token."""
        other = as_wide(self.along.logits(so_far), logits)
        state = None if self.states is None else self.states.states(so_far)
        seen = Seen(logits.log_softmax(-1), other.log_softmax(-1), state)
        step = so_far.tokens.shape[1] - so_far.start
        die = self.dice[so_far.problem.cpu().numpy(), so_far.draw.cpu().numpy() - self.first, step]
        chosen = self.gate(seen) & torch.as_tensor(die < self.taking, device=logits.device)
        taught = ~chosen if self.backwards else chosen
        notes = [taught.double()]
        if self.watch:
            apart = seen.base.argmax(-1) != seen.teacher.argmax(-1)
            notes += [divergence(seen).double(), entropy(seen).double(), apart.double()]
        self.notes.add(so_far, torch.stack(notes, -1))
        if self.within:
            least = logits.topk(min(self.within, logits.shape[-1]), dim=-1).values[:, -1:]
            other = other.masked_fill(logits < least, -torch.inf)
        return torch.where(taught[:, None], other, logits)


def as_wide(other: Any, logits: Any) -> Any:
    """The teacher's logits over the base's vocabulary: rows of padding that only one of them has are left
    out."""
    size = logits.shape[-1]
    if other.shape[-1] > size:
        return other[:, :size].to(logits.dtype)
    if other.shape[-1] < size:
        missing = other.new_full((len(other), size - other.shape[-1]), -torch.inf)
        other = torch.cat([other, missing], dim=-1)
    return other.to(logits.dtype)
