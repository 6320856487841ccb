"""Completions as columns: flat tokens with offsets, one row per completion.

A ``Prompts`` holds each prompt once; a ``Completions`` points into it. All arrays are numpy arrays, so measures
and readers need no torch, and they map one to one to an Arrow table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Stop(IntEnum):
    """Why a completion ended."""

    EOS = 0
    LENGTH = 1
    """Cut at the limit; counted as truncated everywhere."""
    ERROR = 2
    """The policy gave no completion (a server's refusal, a time-out)."""
    UNKNOWN = 3
    """Read from a file that does not record it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """Tokenised prompts, one per problem.

    Args:
        ids: problem ids, ``[problem]``.
        tokens: all prompt tokens, concatenated, int32 ``[prompt token]``.
        offsets: int64 ``[problem + 1]``.
        texts: the prompts as text, ``[problem]``.
    """

    ids: tuple[str, ...]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, problem: int) -> NDArray[np.int32]:
        """The tokens of one prompt."""
        return self.tokens[self.offsets[problem] : self.offsets[problem + 1]]

    @staticmethod
    def build(ids: Sequence[str], texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> Prompts:
        """Prompts from one list of token ids per prompt."""
        flat, offsets = ragged(tokens)
        return Prompts(ids=tuple(ids), tokens=flat, offsets=offsets, texts=tuple(texts))


@dataclass(frozen=True, kw_only=True, eq=False)
class Completions:
    """Completions of one policy. ``(problem, draw)`` is the identity of a row and of its random stream.

    Args:
        policy: fingerprint of the policy that answered.
        prompts: the prompts.
        problem: index into ``prompts``, int32 ``[row]``.
        draw: number of the draw within its problem, int32 ``[row]``.
        tokens: all generated tokens, concatenated, with the end-of-sequence tokens, int32 ``[token]``.
        offsets: int64 ``[row + 1]``.
        logprobs: natural log-probability of each token under the distribution from which it was drawn
            (temperature and truncation applied), float32 ``[token]``; NaN if unknown.
        entropies: entropy in nats of the model's own distribution at temperature 1, float32 ``[token]``.
        stop: a :class:`Stop` per row, uint8 ``[row]``.
        texts: decoded completions without special tokens, ``[row]``.
    """

    policy: str
    prompts: Prompts
    problem: NDArray[np.int32]
    draw: NDArray[np.int32]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    stop: NDArray[np.uint8]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def fingerprint(self) -> str:
        """Hash of prompts, completions and ends of rows, without log-probabilities."""
        digest = hashlib.blake2b(digest_size=16)
        prompts = self.prompts
        arrays = (
            prompts.tokens,
            prompts.offsets,
            self.problem,
            self.draw,
            self.tokens,
            self.offsets,
            self.stop,
        )
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape};".encode() + np.ascontiguousarray(array).tobytes())
        for texts in (prompts.ids, prompts.texts, self.texts):
            for text in texts:
                raw = text.encode("utf-8", "surrogatepass")
                digest.update(len(raw).to_bytes(8, "little") + raw)
            digest.update(b";")
        return digest.hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Generated tokens per row."""
        return np.diff(self.offsets)

    @property
    def token_row(self) -> NDArray[np.int64]:
        """The row of every token, ``[token]``."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def row(self, index: int) -> NDArray[np.int32]:
        """The tokens of one completion."""
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Completions:
        """The completions of some rows, in the order given; prompts are shared."""
        index = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, dtype=np.int64)
        take, offsets = gather_ragged(self.offsets, index)
        return Completions(
            policy=self.policy,
            prompts=self.prompts,
            problem=self.problem[index],
            draw=self.draw[index],
            tokens=self.tokens[take],
            offsets=offsets,
            logprobs=self.logprobs[take],
            entropies=self.entropies[take],
            stop=self.stop[index],
            texts=tuple(self.texts[i] for i in index),
        )

    def onto(self, prompts: Prompts) -> Completions:
        """The same rows, pointing into a larger list of prompts (to join two stages of draws)."""
        place = {identity: index for index, identity in enumerate(prompts.ids)}
        where = np.array([place[identity] for identity in self.prompts.ids], dtype=np.int32)
        return replace(self, prompts=prompts, problem=where[self.problem])

    @staticmethod
    def concat(parts: Sequence[Completions]) -> Completions:
        """Concatenate completions over the *same* prompts."""
        first = parts[0]
        if any(part.prompts.ids != first.prompts.ids or part.policy != first.policy for part in parts):
            raise ValueError("completions of different prompts or policies cannot be joined")
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
        return Completions(
            policy=first.policy,
            prompts=first.prompts,
            problem=np.concatenate([part.problem for part in parts]),
            draw=np.concatenate([part.draw for part in parts]),
            tokens=np.concatenate([part.tokens for part in parts]),
            offsets=offsets.astype(np.int64),
            logprobs=np.concatenate([part.logprobs for part in parts]),
            entropies=np.concatenate([part.entropies for part in parts]),
            stop=np.concatenate([part.stop for part in parts]),
            texts=tuple(text for part in parts for text in part.texts),
        )

    @staticmethod
    def join(parts: Sequence[Completions]) -> Completions:
        """Concatenate completions over any prompts, under the first policy's name; one id means one prompt."""
        found: dict[str, tuple[str, NDArray[np.int32]]] = {}
        for part in parts:
            for index, identity in enumerate(part.prompts.ids):
                found.setdefault(identity, (part.prompts.texts[index], part.prompts.row(index)))
        prompts = Prompts.build(
            tuple(found),
            [text for text, _ in found.values()],
            [tokens.tolist() for _, tokens in found.values()],
        )
        return Completions.concat([replace(part.onto(prompts), policy=parts[0].policy) for part in parts])


def ragged(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Lists of ids as one flat int32 array and its int64 offsets."""
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    flat = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(offsets[-1]))
    return flat, offsets


def pad_ragged(
    values: NDArray, starts: NDArray[np.int64], lengths: NDArray[np.int64], dtype: DTypeLike | None = None
) -> NDArray:
    """Rows of a flat array as a table ``[row, place]`` that is as wide as the longest, zeros behind each row.

    Args:
        values: all rows end to end.
        starts: where each row begins in ``values``.
        lengths: of each row.
        dtype: of the table; that of ``values`` by default.
    """
    place = np.arange(int(lengths.max(initial=0)))
    inside = place < lengths[:, None]
    table = np.zeros(inside.shape, dtype=dtype or values.dtype)
    table[inside] = values[(starts[:, None] + place)[inside]]
    return table


def gather_ragged(
    offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in the flat array of the chosen rows, and the offsets of the result."""
    lengths = (offsets[1:] - offsets[:-1])[rows]
    new = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    starts = np.repeat(offsets[rows] - new[:-1], lengths)
    return starts + np.arange(new[-1]), new
