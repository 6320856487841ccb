"""Continue rows from given tokens, each row from its own, for methods that change course midway.

:meth:`keyturn.policies.local.LocalPolicy.draw` draws answers from prompts. Here a row begins with a prompt and
any tokens after it, and continues under the policy's own sampling, hooks and processors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.core.streams import Streams
from keyturn.policies.context import context_length
from keyturn.policies.hooks import SoFar, evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Stop

if TYPE_CHECKING:
    from keyturn.policies.runners import Decoded, Rows

Name = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Continued:
    """The continuations of given tokens, one entry per row.

    Args:
        tokens: int32 each, an end of sequence included.
        logprobs: of each token under the distribution that it was drawn from, float32 each.
        entropies: nats at temperature 1, float32 each.
        stop: a :class:`~keyturn.rollouts.completions.Stop` per row.
    """

    tokens: tuple[NDArray[np.int32], ...]
    logprobs: tuple[NDArray[np.float32], ...]
    entropies: tuple[NDArray[np.float32], ...]
    stop: NDArray[np.uint8]


def go_on(
    policy: LocalPolicy,
    begun: Sequence[NDArray[np.int32]],
    names: Sequence[Name],
    rooms: Sequence[int],
    streams: Streams,
    *,
    batch_rows: int = 256,
) -> Continued:
    """Continue rows.

    Args:
        policy: its sampling, hooks and processors apply.
        begun: token ids of each row, prompt and continuation so far; never empty.
        names: name of each row's stream of random numbers.
        rooms: most further tokens of each row; the context may allow fewer.
        streams: source of the random numbers.
        batch_rows: rows decoded at once.

    A processor sees the row's index as its ``problem`` and 0 as its ``draw``.
    """
    from keyturn.policies.runners import Rows, cache_is_whole

    context = context_length(policy.model)
    lengths = np.array([len(row) for row in begun], dtype=np.int64)
    limits = np.array(rooms, dtype=np.int64).reshape(len(begun))
    limits = limits if context is None else np.minimum(limits, context - lengths)
    tokens, logprobs, entropies = ([np.zeros(0, dtype=kind)] * len(begun) for kind in ("i4", "f4", "f4"))
    stop = np.full(len(begun), Stop.LENGTH, dtype=np.uint8)
    going = np.flatnonzero(limits > 0)
    going = going[np.argsort(lengths[going], kind="stable")]
    if len(going):
        cache_is_whole(policy.model)  # tried out before hooks are on
    with evaluating(policy.model), hooked(policy.model, policy.hooks):
        for start in range(0, len(going), max(batch_rows, 1)):
            rows = going[start : start + max(batch_rows, 1)]
            batch = _batch(begun, rows, names, limits, streams, Rows)
            drawn = policy.decode(batch)
            _take(drawn, rows, tokens, logprobs, entropies)
            stop[rows] = np.where(drawn.ended, Stop.EOS, Stop.LENGTH)
    return Continued(tokens=tuple(tokens), logprobs=tuple(logprobs), entropies=tuple(entropies), stop=stop)


def _batch(
    begun: Sequence[NDArray[np.int32]],
    rows: NDArray[np.int64],
    names: Sequence[Name],
    limits: NDArray[np.int64],
    streams: Streams,
    kind: type[Rows],
) -> Rows:
    place: dict[bytes, int] = {}
    distinct: list[NDArray[np.int32]] = []
    which = []
    for row in rows.tolist():
        own = np.asarray(begun[row], dtype=np.int32)
        which.append(place.setdefault(own.tobytes(), len(distinct)))
        if which[-1] == len(distinct):
            distinct.append(own)
    uniforms = np.empty((len(rows), int(limits[rows].max())))
    streams.uniforms((names[row] for row in rows.tolist()), uniforms)
    return kind(
        prompts=distinct,
        prompt=np.array(which, dtype=np.int64),
        uniforms=uniforms,
        limits=limits[rows],
        problem=rows.astype(np.int64),
        draw=np.zeros(len(rows), dtype=np.int64),
    )


def _take(drawn: Decoded, rows: NDArray[np.int64], *into: list[Any]) -> None:
    """Write the rows of a batch to their places in the result."""
    for place, row in enumerate(rows.tolist()):
        size = int(drawn.lengths[place])
        for table, found in zip((drawn.tokens, drawn.logprobs, drawn.entropies), into, strict=True):
            found[row] = table[place, :size].copy()


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A processor that records one number of every distribution and changes no distribution.

    Args:
        name: name of the processor; part of the policy's fingerprint.
        of: ``logits [row, vocab] -> number [row]``, a function at the top of a module or a frozen dataclass.
    """

    name: str
    of: Callable[[Any], Any]
    _steps: list[tuple[Any, Any, Any]] = field(default_factory=list, init=False, compare=False, repr=False)

    def __call__(self, so_far: SoFar, logits: torch.Tensor) -> torch.Tensor:
        """Record the step and return the logits unchanged."""
        self._steps.append((so_far.problem.cpu(), so_far.draw.cpu(), self.of(logits).cpu()))
        return logits

    def rows(
        self, problem: NDArray[np.integer], draw: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], ...]:
        """The recorded numbers of each row, one per generated token; the record is then cleared.

        Args:
            problem, draw: the rows, as the sampler numbered them.
            lengths: number of generated tokens of each row.
        """
        found: dict[tuple[int, int], list[float]] = {}
        for problems, draws, values in self._steps:
            for key, value in zip(
                zip(problems.tolist(), draws.tolist(), strict=True), values.tolist(), strict=True
            ):
                found.setdefault(key, []).append(value)
        self._steps.clear()
        keys = zip(problem.tolist(), draw.tolist(), strict=True)
        return tuple(
            np.array(found.get(key, [])[:size], dtype=np.float64)
            for key, size in zip(keys, lengths.tolist(), strict=True)
        )
