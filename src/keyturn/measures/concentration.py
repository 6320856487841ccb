"""How unequally a total is spread: the Lorenz curve from the largest entry down, and what is read off it.

Source: Lorenz 1905; Gini 1912; participation ratio, Bell and Dean 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

LorenzCurve = tuple[NDArray[np.float64], NDArray[np.float64]]


def lorenz(values: NDArray, weights: NDArray | None = None) -> LorenzCurve:
    """The share of the total that the largest entries hold.

    Args:
        values: not negative, ``[entry]``.
        weights: how often each entry counts, ``[entry]``; once by default.

    Returns:
        ``(entries, total)``: cumulative shares from the largest entry down, each ``[entry + 1]`` from 0 to 1;
        all NaN where the total is 0 or there is no entry.
    """
    order = np.argsort(values, kind="stable")[::-1]
    return lorenz_of_sorted(values[order], None if weights is None else weights[order])


def lorenz_of_sorted(values: NDArray, weights: NDArray | None = None) -> LorenzCurve:
    """:func:`lorenz` of values that already descend."""
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    entries = np.concatenate([[0.0], np.cumsum(counts)])
    total = np.concatenate([[0.0], np.cumsum(counts * values)])
    if not total[-1] > 0:
        return np.full(len(entries), np.nan), np.full(len(total), np.nan)
    return entries / entries[-1], total / total[-1]


def gini(curve: LorenzCurve) -> float:
    """0 where every entry is equal, towards 1 where one holds everything: ``2 * area - 1``."""
    entries, total = curve
    return float(2 * np.trapezoid(total, entries) - 1)


def held_by_top(curve: LorenzCurve, tops: Sequence[float]) -> NDArray[np.float64]:
    """Share of the total that the largest ``tops`` of the entries hold, ``[top]``; interpolated in between."""
    return np.interp(np.asarray(tops), *curve)


def holding(curve: LorenzCurve, share: float) -> float:
    """Smallest share of the entries that together hold ``share`` of the total."""
    entries, total = curve
    return float("nan") if np.isnan(total[-1]) else float(np.interp(share, total, entries))


@dataclass(frozen=True, kw_only=True, eq=False)
class Magnitudes:
    """Absolute values of any number of entries in little memory: a histogram over the upper bits of float32.

    A bucket's ends differ by 1/256 at most, so shares and Gini read off it are off by less than 1e-3; sums are
    exact. Two of them add up.

    Args:
        bucket: upper 16 bits of the values that occur, ascending (so are the values), int64 ``[bucket]``.
        count: entries per bucket, float64 ``[bucket]``.
        first: sum of absolute values per bucket, float64 ``[bucket]``.
        second: sum of squares per bucket, float64 ``[bucket]``.
        fourth: sum of fourth powers over all entries.
    """

    bucket: NDArray[np.int64]
    count: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    fourth: float

    @staticmethod
    def empty() -> Magnitudes:
        """Of no entry."""
        return Magnitudes.of(np.zeros(0, dtype=np.float32))

    @staticmethod
    def of(values: NDArray[np.float32], times: float = 1.0) -> Magnitudes:
        """Of some entries, any shape, each counted ``times``."""
        flat = values.ravel()
        table, fourth = np.zeros((3, _BUCKETS)), 0.0
        for start in range(0, flat.size, _PIECE):
            size = np.abs(np.ascontiguousarray(flat[start : start + _PIECE], dtype=np.float32))
            bucket = (size.view(np.uint32) >> 15).astype(np.int64)
            wide = size.astype(np.float64)
            for row, weights in enumerate((None, wide, wide**2)):
                table[row] += times * np.bincount(bucket, weights=weights, minlength=_BUCKETS)
            fourth += times * float(np.sum(wide**4))
        used = np.flatnonzero(table[0])
        count, first, second = table[:, used]
        return Magnitudes(bucket=used, count=count, first=first, second=second, fourth=fourth)

    @staticmethod
    def gaussian(n: int, rms: float) -> Magnitudes:
        """What ``n`` Gaussian entries of a given root mean square would be, from quantiles: no draw."""
        return Magnitudes.of((rms * _HALF_NORMAL).astype(np.float32), n / len(_HALF_NORMAL))

    def __add__(self, other: Magnitudes) -> Magnitudes:
        bucket, place = np.unique(np.concatenate([self.bucket, other.bucket]), return_inverse=True)
        table = np.zeros((3, len(bucket)))
        for row, field in enumerate(("count", "first", "second")):
            both = np.concatenate([getattr(self, field), getattr(other, field)])
            table[row] = np.bincount(place, weights=both, minlength=len(bucket))
        fourth = self.fourth + other.fourth
        return Magnitudes(bucket=bucket, count=table[0], first=table[1], second=table[2], fourth=fourth)

    @property
    def n(self) -> int:
        """How many entries."""
        return round(float(self.count.sum()))

    @property
    def energy(self) -> float:
        """Sum of squares."""
        return float(self.second.sum())

    def participation(self) -> float:
        """``(sum d^2)^2 / (n sum d^4)``: 1 where all are equal in size, 1/n where one entry is everything."""
        if self.n == 0 or not self.fourth > 0:
            return float("nan")
        return self.energy**2 / (self.n * self.fourth)

    def size_curve(self) -> LorenzCurve:
        """Lorenz curve of the absolute values."""
        return lorenz_of_sorted((self.first / self.count)[::-1], self.count[::-1])

    def energy_curve(self) -> LorenzCurve:
        """Lorenz curve of the squares."""
        return lorenz_of_sorted((self.second / self.count)[::-1], self.count[::-1])


_PIECE = 1 << 22
_BUCKETS = 1 << 16
_HALF_NORMAL = ndtri((1 + (np.arange(1 << 14) + 0.5) / (1 << 14)) / 2)
