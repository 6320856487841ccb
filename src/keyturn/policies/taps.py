"""Activation taps: hidden states of given texts, at chosen layers, places and reductions.

Texts are read whole, prompt and completion, padded on the right, so no position shifts and padding is never
read. The first token of a prompt is an attention sink in many models, with a norm ten to a hundred times that
of others; it is left out unless the caller asks for it. With a folder, hidden states are written to
memory-mapped files as they are read, so that they need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, unknown
from keyturn.core.lazy import torch
from keyturn.policies.hooks import evaluating, hooked
from keyturn.policies.local import LocalPolicy
from keyturn.policies.sites import Places, Site, width_of
from keyturn.rollouts.completions import Completions

Positions: TypeAlias = Literal["prompt", "last_prompt", "completion", "all"]
Reduce: TypeAlias = Literal["none", "mean", "last"]


@dataclass(frozen=True, kw_only=True)
class ActivationTap:
    """The hidden states to tap.

    Args:
        sites: layers and sides.
        positions: tokens of the prompt, its last one, tokens of the completion, or all; or ``places -> bool``.
        reduce: ``none``: one vector a token; ``mean`` and ``last``: one a text.
        sinks: number of tokens left out at the beginning of each prompt.
    """

    sites: tuple[Site, ...]
    positions: Positions | Callable[[Places], Any] = "completion"
    reduce: Reduce = "mean"
    sinks: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.positions, str) and self.positions not in get_args(Positions):
            raise unknown("positions of a tap", self.positions, get_args(Positions))
        if self.reduce not in get_args(Reduce):
            raise unknown("reduction of a tap", self.reduce, get_args(Reduce))

    def chosen(self, places: Places) -> Any:
        """Which places are tapped, bool ``[row, token]``."""
        if callable(self.positions):
            found = self.positions(places)
        elif self.positions == "all":
            found = torch.ones_like(places.real)
        elif self.positions == "last_prompt":
            found = places.position == places.prompt - 1
        else:
            written = places.position >= places.prompt
            found = written if self.positions == "completion" else ~written
        # A prompt of one token is its own sink: its last place is asked for by name.
        sink = (places.position < self.sinks) & (self.positions != "last_prompt")
        return found.expand(places.real.shape) & places.real & ~sink


@dataclass(frozen=True, kw_only=True, eq=False)
class Tapped:
    """The tapped hidden states.

    Args:
        states: site by site, float32 ``[entry, dim]``.
        row: each entry's row in the completions, int64 ``[entry]``.
        position: each entry's position in prompt and completion, the last one for a mean, int64 ``[entry]``.
    """

    states: tuple[NDArray[np.float32], ...]
    row: NDArray[np.int64]
    position: NDArray[np.int64]


def tap(
    policy: LocalPolicy,
    completions: Completions,
    what: ActivationTap,
    *,
    folder: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> Tapped:
    """Read texts and keep hidden states, in the order of rows and places.

    A text without a chosen place has no entry.

    Args:
        policy: its model reads the texts, under its hooks.
        completions: the texts, in the policy's tokens.
        what: the hidden states to tap.
        folder: folder for the files ``site-N.npy``; None keeps everything in memory.
        advance: called with the number of rows that were just read.

    Raises:
        InputError: ids that the model does not know, or no place to tap in any text.
        UsageError: the model has no such layer.
    """
    from keyturn.policies.cache import without_cache
    from keyturn.policies.steered_readers import batches

    policy.check_fits(completions)
    device, width = policy.model.device, width_of(policy.model)
    where = _entries(completions, what)
    rows, positions = where[:, 0], where[:, 1]
    if not len(rows):
        raise InputError(
            "no text has a place that is tapped", fix="other positions, or texts that are not empty"
        )
    tables = _tables(folder, len(what.sites), (len(rows), width))
    starts = np.searchsorted(rows, np.arange(len(completions) + 1))
    seen: dict[int, Any] = {}

    def keep(number: int) -> Callable[[Any], None]:
        def look(hidden: Any) -> None:
            seen[number] = hidden.detach()

        return look

    hooks = [site.hook(policy.model, f"tap {n}", keep(n)) for n, site in enumerate(what.sites)]
    with evaluating(policy.model), hooked(policy.model, (*policy.hooks, *hooks)):
        for batch, tokens, places in batches(completions, device):
            policy.model(input_ids=tokens, **without_cache(policy.model))
            chosen = what.chosen(places).cpu().numpy()
            for number, table in enumerate(tables):
                states = seen[number].double().cpu().numpy()
                for index, row in enumerate(batch):
                    found = _reduced(states[index][chosen[index]], what.reduce)
                    table[starts[row] : starts[row + 1]] = found
            seen.clear()
            if advance is not None:
                advance(len(batch))
    for table in tables:
        if isinstance(table, np.memmap):
            table.flush()
    return Tapped(states=tuple(tables), row=rows, position=positions)


def _entries(completions: Completions, what: ActivationTap) -> NDArray[np.int64]:
    """Row and position of every entry, ``[entry, 2]``. They are known before any reading, so files get their
    final size."""
    from keyturn.policies.steered_readers import batches

    found: list[tuple[int, int]] = []
    for batch, _, places in batches(completions, torch.device("cpu")):
        chosen = what.chosen(places).numpy()
        for index, row in enumerate(batch):
            own = np.flatnonzero(chosen[index]).tolist()
            found += [(row, place) for place in (own if what.reduce == "none" else own[-1:])]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _reduced(states: NDArray[np.float64], reduce: str) -> NDArray[np.float64]:
    if reduce == "none" or not len(states):
        return states
    return states.mean(axis=0, keepdims=True) if reduce == "mean" else states[-1:]


def _tables(folder: Path | None, count: int, shape: tuple[int, int]) -> Sequence[NDArray[np.float32]]:
    if folder is None:
        return [np.empty(shape, dtype=np.float32) for _ in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    return [
        np.lib.format.open_memmap(folder / f"site-{number}.npy", mode="w+", dtype=np.float32, shape=shape)
        for number in range(count)
    ]
