"""Rows of prompt and completion tokens, and their division into batches of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keyturn.rollouts.completions import ragged

Tokens = NDArray[np.int32]

CALL_TOKENS = 128
"""What one more forward costs, in tokens: a batch is split where its padding would cost more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Rows of prompt and completion; equal prompts are held once.

    Args:
        prompts: the distinct prompts.
        prompt: which of them a row has, ``[row]``.
        tokens: completion tokens end to end.
        offsets: of each row's completion in ``tokens``, ``[row + 1]``.
    """

    prompts: list[Tokens]
    prompt: NDArray[np.int64]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @staticmethod
    def build(prompts: Sequence[Tokens], completions: Sequence[Tokens]) -> Texts:
        """From one prompt and one completion a row."""
        if len(prompts) != len(completions):
            raise ValueError(f"{len(prompts)} prompts for {len(completions)} completions")
        place: dict[bytes, int] = {}
        distinct: list[Tokens] = []
        which = np.empty(len(prompts), dtype=np.int64)
        for row, tokens in enumerate(prompts):
            array = np.asarray(tokens, dtype=np.int32)
            if not len(array):
                raise ValueError(f"the prompt of row {row} has no tokens")
            which[row] = place.setdefault(array.tobytes(), len(distinct))
            if which[row] == len(distinct):
                distinct.append(array)
        flat, offsets = ragged(completions)  # type: ignore[arg-type]
        return Texts(prompts=distinct, prompt=which, tokens=flat, offsets=offsets)

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


def buckets(lengths: NDArray[np.int64], *, budget: int = 0, call: int = CALL_TOKENS) -> list[NDArray[np.int64]]:
    """Divide rows into batches that minimise padded tokens plus ``call`` tokens per batch.

    Exact for the cost stated, by dynamic programming over the distinct lengths.

    Args:
        lengths: tokens of each row, ``[row]``.
        budget: padded tokens that one batch may have (a single longer row is still one batch); 0: any.
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


def pad_right(rows: Sequence[Tokens], filler: int = 0) -> Tensor:
    """Rows as int64 ``[row, token]`` padded on the right."""
    table = np.full((len(rows), max(len(row) for row in rows)), filler, dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return torch.from_numpy(table)
