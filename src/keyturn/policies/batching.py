"""Rows of prompt and completion tokens, and their division into batches of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keyturn.rollouts.completions import Completions, gather_ragged, pad_ragged, ragged

Tokens = NDArray[np.int32]

CALL_TOKENS = 128
"""Cost of one more forward pass, in tokens: a batch is split where its padding would cost more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Rows of prompt and completion; equal prompts are held once.

    Args:
        prompts: the distinct prompts.
        prompt: index of each row's prompt in ``prompts``, ``[row]``.
        tokens: completion tokens end to end.
        offsets: where each row's completion begins in ``tokens``, ``[row + 1]``.
        table: the completions as int64 ``[row, token]``, padded with zeros on the right, where the caller has
            padded them already (an RL step does, for the objective).
    """

    prompts: list[Tokens]
    prompt: NDArray[np.int64]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    table: Tensor | None = None

    @staticmethod
    def build(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Texts:
        """From one prompt and one completion per row."""
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts for {len(completions)} completions")
        distinct, which = _distinct(prompts)
        flat, offsets = ragged(completions)  # type: ignore[arg-type]
        return Texts(prompts=distinct, prompt=which, tokens=flat, offsets=offsets)

    @staticmethod
    def of(completions: Completions) -> Texts:
        """A view of drawn completions: no token is copied."""
        asked, order = _in_order(completions.problem)
        distinct, which = _distinct(completions.prompts.row(int(problem)) for problem in asked)
        return Texts(
            prompts=distinct, prompt=which[order], tokens=completions.tokens, offsets=completions.offsets
        )

    def rows(self, rows: NDArray[np.int64], table: Tensor | None = None) -> Texts:
        """Some rows, in the order given.

        Args:
            rows: row numbers.
            table: the padded completions of these rows, see :class:`Texts`.
        """
        used, prompt = _in_order(self.prompt[rows])
        taken, offsets = gather_ragged(self.offsets, rows)
        return Texts(
            prompts=[self.prompts[int(index)] for index in used],
            prompt=prompt,
            tokens=self.tokens[taken],
            offsets=offsets,
            table=table,
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each completion."""
        return np.diff(self.offsets)

    @property
    def prompt_lengths(self) -> NDArray[np.int64]:
        """Tokens of each distinct prompt."""
        return np.array([len(tokens) for tokens in self.prompts], dtype=np.int64)

    def sharing_pays(self) -> bool:
        """Whether reading each prompt once saves a fifth of all tokens."""
        rows = self.prompt[self.lengths > 0]
        apart = self.prompt_lengths[rows].sum() + self.lengths.sum()
        together = self.prompt_lengths[np.unique(rows)].sum() + self.lengths.sum()
        return bool(together < 0.8 * apart)

    def completion(self, row: int) -> Tokens:
        """Tokens of one completion."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    def fed(self, rows: NDArray[np.int64]) -> Tensor:
        """The input for some completions: all tokens but the last, int64 ``[row, token]``, zero padding."""
        lengths = self.lengths[rows] - 1
        if self.table is None:
            return torch.from_numpy(pad_ragged(self.tokens, self.offsets[rows], lengths, np.int64))
        device = self.table.device
        table = self.table[torch.from_numpy(rows).to(device), : int(lengths.max())]
        inside = torch.arange(table.shape[1], device=device) < torch.from_numpy(lengths).to(device)[:, None]
        return table * inside

    def whole(self, rows: NDArray[np.int64]) -> Tensor:
        """As :meth:`fed`, each completion preceded by its prompt."""
        starts, fed = self.prompt_lengths[self.prompt[rows]], self.lengths[rows] - 1
        place, own = np.arange(int((starts + fed).max())), starts[:, None]
        table = np.zeros((len(rows), len(place)), dtype=np.int64)
        table[place < own] = np.concatenate([self.prompts[index] for index in self.prompt[rows]])
        inside = (place >= own) & (place < own + fed[:, None])
        table[inside] = self.tokens[(self.offsets[rows][:, None] + place - own)[inside]]
        return torch.from_numpy(table)


def _distinct(prompts: Iterable[Tokens]) -> tuple[list[Tokens], NDArray[np.int64]]:
    """The distinct prompts in the order of their first appearance, and each prompt's index among them."""
    place: dict[bytes, int] = {}
    distinct: list[Tokens] = []
    which: list[int] = []
    for row, tokens in enumerate(prompts):
        array = np.asarray(tokens, dtype=np.int32)
        if not len(array):
            raise ValueError(f"the prompt of row {row} has no tokens")
        which.append(place.setdefault(array.tobytes(), len(distinct)))
        if which[-1] == len(distinct):
            distinct.append(array)
    return distinct, np.array(which, dtype=np.int64)


def _in_order(names: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The distinct numbers in the order of their first appearance, and each number's index among them."""
    found, first, which = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    return found[order], rank[which]


def buckets(lengths: NDArray[np.int64], *, budget: int = 0, call: int = CALL_TOKENS) -> list[NDArray[np.int64]]:
    """Divide rows into batches that minimise padded tokens plus ``call`` tokens per batch.

    Exact for the cost stated, by dynamic programming over the distinct lengths.

    Args:
        lengths: tokens of each row, ``[row]``.
        budget: most padded tokens in one batch (a single longer row is still one batch); 0: no limit.
        call: fixed cost of a batch.
    """
    order = np.argsort(lengths, kind="stable")
    if not len(order):
        return []
    values, counts = np.unique(lengths, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(counts)])
    best, cut = np.zeros(len(values) + 1), np.zeros(len(values) + 1, dtype=np.int64)
    for stop in range(1, len(values) + 1):
        costs = best[:stop] + call + (upto[stop] - upto[:stop]) * values[stop - 1]
        cut[stop] = int(costs.argmin())
        best[stop] = costs[cut[stop]]
    parts, stop = [], len(values)
    while stop:
        parts.append(order[upto[cut[stop]] : upto[stop]])
        stop = int(cut[stop])
    return [piece for part in reversed(parts) for piece in _within(part, lengths, budget)]


def _within(rows: NDArray[np.int64], lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    if not budget:
        return [rows]
    most = max(1, budget // max(int(lengths[rows].max()), 1))
    return [rows[start : start + most] for start in range(0, len(rows), most)]


def pad_left(rows: Sequence[Tokens], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Rows as int64 ``[row, token]`` padded on the left, and their lengths."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    table = np.full((len(rows), int(lengths.max())), filler, dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, table.shape[1] - len(row) :] = row
    return torch.from_numpy(table), torch.from_numpy(lengths)
