"""A placebo mask of the same shape: the spans of a true mask, placed at random in each row.

A row of ``T`` generated tokens whose true mask has ``k`` spans (maximal runs) of lengths ``L_1..L_k`` gets
``k`` spans of the same lengths, in random order, with at least one token between neighbours. The arrangement is
drawn uniformly: ``k`` of the ``T - sum L + 1`` places between the tokens outside are chosen for the spans.
Denominator: none. Density and span lengths are those of the true mask, row by row; only the places differ.
Degenerate: a row without spans gets none; a row that the true mask fills is filled.
Known bias: places are independent of the true mask, so the two overlap by chance (much, if the mask is dense).
A row with many true tokens has many placebo tokens, so credit on all marked tokens still goes to such rows.
Source: ours. Randomness is keyed by the content of the row's group and of the row, not by the row's position in
the batch; identical rows of one group are distinguished by their order.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.objectives.contract import RolloutBatch


def scattered(
    batch: RolloutBatch, true: Bool[torch.Tensor, "row token"], name: str
) -> Bool[torch.Tensor, "row token"]:
    """Spans of the lengths of ``true``, at random places of the same rows.

    Args:
        batch: batch with streams.
        true: the true mask, inside the batch's mask.
        name: name of the stream.
    """
    own, marks = batch.mask.cpu().numpy(), true.cpu().numpy()
    out = np.zeros_like(own)
    for row, generator in enumerate(_generators(batch, name)):
        places = np.flatnonzero(own[row])
        out[row, places] = scatter(marks[row, places], generator)
    return torch.from_numpy(out).to(batch.mask.device)


def scores(batch: RolloutBatch, name: str) -> Float[torch.Tensor, "row token"]:
    """A uniform random number in [0, 1) for every generated token, 1 outside the mask, float64."""
    own = batch.mask.cpu().numpy()
    out = np.ones(own.shape)
    for row, generator in enumerate(_generators(batch, name)):
        out[row, own[row]] = generator.random(int(own[row].sum()))
    return torch.from_numpy(out).to(batch.mask.device)


def scatter(marks: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """One row: the spans of ``marks``, shuffled and placed at random."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(np.int8), [0]])))
    lengths = generator.permutation(edges[1::2] - edges[::2])
    outside = len(marks) - int(lengths.sum())
    # Each span goes before one of the tokens outside, or after the last; different places keep spans apart.
    before = np.sort(generator.permutation(outside + 1)[: len(lengths)])
    out = np.zeros(len(marks), dtype=bool)
    used = 0
    for place, length in zip(before, lengths, strict=True):
        out[place + used : place + used + length] = True
        used += int(length)
    return out


def _generators(batch: RolloutBatch, name: str) -> list[np.random.Generator]:
    """One generator per row, independent of the row's position and of the other rows in the batch."""
    if batch.streams is None:
        raise UsageError("random tokens need a batch with streams", fix="give RolloutBatch(streams=...)")
    mask, tokens = batch.mask.cpu().numpy(), batch.tokens.cpu().numpy()
    group = batch.group.cpu().numpy()
    said = [_digest(tokens[row, mask[row]].astype(np.int64).tobytes()) for row in range(len(mask))]
    out: dict[int, np.random.Generator] = {}
    for number in np.unique(group):
        rows = np.flatnonzero(group == number)
        together = _digest(b"".join(sorted(said[row] for row in rows)))
        seen: Counter[bytes] = Counter()
        for row in rows:
            labels = (name, together.hex(), said[row].hex(), seen[said[row]])
            out[int(row)] = batch.streams.generator(*labels)
            seen[said[row]] += 1
    return [out[row] for row in range(len(mask))]


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
