"""What an update does to single entries, what of it bf16 shows, and what chance alone would show.

bf16 has 8 significant bits: its spacing for ``|w|`` in ``[2^e, 2^(e+1))`` is ``2^(e-7)``. An update of a
weight that lies on that grid is visible if it is at least half of the spacing.

Source: IEEE 754 rounding (nearest, ties to even); overlap of two masks, Mukherjee et al. 2025, 2505.11711,
with chance by exponent beside their uniform one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to bf16 (nearest, ties to even), kept in float32; finite input of any shape."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def apply(base: NDArray[np.float32], delta: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights after an update, added in float32 as an optimiser with an fp32 master copy does."""
    return np.add(base, delta, dtype=np.float32)


def exponents(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The biased binary exponent of every entry, 0 for zeros: equal exponents have equal bf16 spacing."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits >> 23) & np.uint32(0xFF)).astype(np.uint8)


def visible(base: NDArray[np.float32], tuned: NDArray[np.float32]) -> Mask:
    """Entries that differ after rounding both sides to bf16."""
    return to_bf16(base) != to_bf16(tuned)


def permuted_within_exponent(
    base: NDArray[np.float32], delta: NDArray[np.float32], generator: np.random.Generator, draws: int
) -> Iterator[NDArray[np.float32]]:
    """Updates shuffled among the entries of one matrix whose weights have the same binary exponent.

    This keeps how large updates are and how that depends on the weight's size (all that rounding needs), and
    destroys where they are.

    Args:
        base: weights, any shape.
        delta: updates, the same shape.
        generator: of the permutations.
        draws: how many.

    Yields:
        One permuted delta at a time, shape of ``delta``.
    """
    scale = exponents(base).ravel()
    order = np.argsort(scale, kind="stable")
    edges = np.flatnonzero(np.diff(scale[order])) + 1
    bins = list(zip([0, *edges.tolist()], [*edges.tolist(), len(order)], strict=True))
    shuffled = delta.ravel()[order]
    for _ in range(draws):
        for start, stop in bins:
            generator.shuffle(shuffled[start:stop])
        out = np.empty_like(shuffled)
        out[order] = shuffled
        yield out.reshape(delta.shape)


def mask_overlap(first: Mask, second: Mask, base: NDArray[np.float32]) -> dict[str, float]:
    """How far two updates of one base change the same entries, beside what chance alone would give.

    Args:
        first: entries that the first update changed, any shape.
        second: entries that the second update changed.
        base: the weights both started from (their exponents are the strata of chance).

    Returns:
        ``observed``: ``|first & second| / |first|``; ``uniform``: the same if ``second`` were placed anywhere
        in the matrix; ``exponent``: if it were placed anywhere among entries of the same binary exponent. NaN
        where ``first`` is empty.
    """
    changed = int(first.sum())
    if changed == 0:
        return dict.fromkeys(("observed", "uniform", "exponent"), float("nan"))
    scale = exponents(base).ravel()
    size = np.bincount(scale, minlength=256)
    density = np.bincount(scale, weights=second.ravel(), minlength=256) / np.maximum(size, 1)
    in_first = np.bincount(scale, weights=first.ravel(), minlength=256)
    return {
        "observed": float((first & second).sum() / changed),
        "uniform": float(second.mean()),
        "exponent": float((in_first * density).sum() / changed),
    }
