"""Draws of one policy by problem, as numbers that show only which texts are equal."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """The draws of one policy by problem, in their order.

    Args:
        problems: numbers of the problems, ascending, ``[problem]``.
        labels: for each problem, the number of each draw's text, int64 ``[draw]``. Equal texts have equal
            numbers, and the order of numbers is independent of how often a text occurs.
        rows: the row of each draw, in the same shape.
        words: mean number of words per text.
    """

    problems: tuple[int, ...]
    labels: tuple[NDArray[np.int64], ...]
    rows: tuple[NDArray[np.int64], ...]
    words: float

    @property
    def size(self) -> int:
        """Total number of draws."""
        return sum(map(len, self.labels))

    def kept(self, keep: Sequence[NDArray[np.bool_]]) -> Draws:
        """Some draws of each problem."""
        return Draws(
            problems=self.problems,
            labels=tuple(label[mask] for label, mask in zip(self.labels, keep, strict=True)),
            rows=tuple(row[mask] for row, mask in zip(self.rows, keep, strict=True)),
            words=self.words,
        )


def draws_of(
    problem: NDArray[np.integer],
    texts: Sequence[str],
    order: NDArray[np.integer] | None = None,
    *,
    spaces: bool = True,
) -> Draws:
    """Draws from a table with one row per completion.

    Args:
        problem: number of each row's problem, ``[row]``.
        texts: completions, ``[row]``.
        order: number of the draw within its problem, ``[row]``; None means the order of the rows.
        spaces: whether texts that differ only in white space are different.
    """
    label = np.array([number_of(text if spaces else " ".join(text.split())) for text in texts], dtype=np.int64)
    problem = np.asarray(problem)
    within = np.arange(len(texts)) if order is None else np.asarray(order)
    rows = np.lexsort((np.arange(len(texts)), within, problem))
    names, starts = np.unique(problem[rows], return_index=True)
    apart = tuple(np.split(rows, starts[1:])) if len(rows) else ()
    return Draws(
        problems=tuple(names.tolist()),
        labels=tuple(label[index] for index in apart),
        rows=apart,
        words=float(np.mean([len(text.split()) for text in texts])) if len(rows) else 0.0,
    )


def number_of(text: str) -> int:
    """A number that equal texts share and that carries no other information."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def counts_of(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each text occurs, in the order of the texts' numbers."""
    return np.unique(label, return_counts=True)[1]
