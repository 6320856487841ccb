"""How unequally a total is spread: the Lorenz curve from the largest down, and what is read off it.

Source: Lorenz 1905; Gini 1912; participation ratio, Bell and Dean 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def lorenz(values: NDArray, weights: NDArray | None = None) -> Curve:
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


def lorenz_of_sorted(values: NDArray, weights: NDArray | None = None) -> Curve:
    """:func:`lorenz` of values that already descend."""
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    entries = np.concatenate([[0.0], np.cumsum(counts)])
    total = np.concatenate([[0.0], np.cumsum(counts * values)])
    if not total[-1] > 0:
        return np.full(len(entries), np.nan), np.full(len(total), np.nan)
    return entries / entries[-1], total / total[-1]


def gini(curve: Curve) -> float:
    """0 where every entry is equal, towards 1 where one holds everything: ``2 * area - 1``."""
    entries, total = curve
    return float(2 * np.trapezoid(total, entries) - 1)


def held_by_top(curve: Curve, tops: Sequence[float]) -> NDArray[np.float64]:
    """Share of the total that the largest ``tops`` of the entries hold, ``[top]``; interpolated in between."""
    return np.interp(np.asarray(tops), *curve)


def holding(curve: Curve, share: float) -> float:
    """Smallest share of the entries that together hold ``share`` of the total."""
    entries, total = curve
    return float("nan") if np.isnan(total[-1]) else float(np.interp(share, total, entries))


@dataclass(frozen=True, kw_only=True, eq=False)
class Magnitudes:
    """Absolute values of any number of entries in constant memory: a histogram over the upper bits of float32.

    A bucket's ends differ by 1/256 at most, so shares and Gini read off it are off by less than 1e-3; sums are
    exact. Two of them add up.

    Args:
        count: entries per bucket, float64 ``[65536]``.
        first: sum of absolute values per bucket, float64 ``[65536]``.
        second: sum of squares per bucket, float64 ``[65536]``.
        fourth: sum of fourth powers over all entries.
    """

    count: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    fourth: float

    @staticmethod
    def empty() -> Magnitudes:
        """Of no entry."""
        zeros = np.zeros(_BUCKETS)
        return Magnitudes(count=zeros, first=zeros, second=zeros, fourth=0.0)

    @staticmethod
    def of(values: NDArray[np.float32], times: float = 1.0) -> Magnitudes:
        """Of some entries, any shape, each counted ``times``."""
        size = np.abs(np.ascontiguousarray(values, dtype=np.float32).ravel())
        bucket = (size.view(np.uint32) >> 15).astype(np.int64)
        wide = size.astype(np.float64)
        return Magnitudes(
            count=_sums(bucket, np.full(bucket.shape, times)),
            first=_sums(bucket, times * wide),
            second=_sums(bucket, times * wide**2),
            fourth=times * float(np.sum(wide**4)),
        )

    @staticmethod
    def gaussian(n: int, rms: float) -> Magnitudes:
        """What ``n`` Gaussian entries of a given root mean square would be, from quantiles: no draw."""
        return Magnitudes.of((rms * _HALF_NORMAL).astype(np.float32), n / len(_HALF_NORMAL))

    def __add__(self, other: Magnitudes) -> Magnitudes:
        return Magnitudes(
            count=self.count + other.count,
            first=self.first + other.first,
            second=self.second + other.second,
            fourth=self.fourth + other.fourth,
        )

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

    def size_curve(self) -> Curve:
        """Lorenz curve of the absolute values."""
        return self._curve(self.first)

    def energy_curve(self) -> Curve:
        """Lorenz curve of the squares."""
        return self._curve(self.second)

    def _curve(self, sums: NDArray[np.float64]) -> Curve:
        used = np.flatnonzero(self.count)[::-1]
        count = self.count[used]
        return lorenz_of_sorted(sums[used] / count, count)


def _sums(bucket: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(bucket, weights=values, minlength=_BUCKETS).astype(np.float64)


_BUCKETS = 1 << 16
_HALF_NORMAL = ndtri((1 + (np.arange(1 << 14) + 0.5) / (1 << 14)) / 2)
