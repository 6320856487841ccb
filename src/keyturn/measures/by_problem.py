"""Means over tokens (or rows) with intervals over problems: tokens of one problem are not independent.

``mean = sum_i x_i / sum_i n_i`` over problems i, where ``x_i`` is the sum and ``n_i`` the count of the tokens
of problem i. A resample takes whole problems, with both their sum and their count. Denominator: the tokens, so
that long completions weigh more. Degenerate: no token gives NaN with n = 0; tokens of a single problem have no
interval.
Known bias: of the order 1/problems, as for every ratio. Source: ratio estimator, Cochran 1977, "Sampling
Techniques", chapter 6; problems as the unit, Miller 2024, arXiv:2411.00640.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import percentile_interval, resample_weights
from keyturn.core.streams import Streams

RESAMPLES = 1000
"""Resamples of the problems: the Monte Carlo error of a 2.5 % tail is half a percentage point."""

NOTHING = Estimate(float("nan"))

ANY, POSITIVE, SHARE = (-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)
"""Ranges of quantities; the widened intervals of few problems are cut off there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """An estimate over problems and how it came out in each resample.

    Args:
        estimate: value and 95 % interval.
        n: problems that stand behind it.
        replicates: float64 ``[resample]``; comparable only with those of one ``ByProblem``.
    """

    estimate: Estimate
    n: int
    replicates: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ByProblem:
    """Entries (tokens, rows) that know their problem, and the resamples of the problems.

    Args:
        problem: of every entry, ``[entry]``.
        size: how many problems there are.
        weights: how often each problem is in each resample, float64 ``[resample, problem]``.
    """

    problem: NDArray[np.int64]
    size: int
    weights: NDArray[np.float64]

    @staticmethod
    def of(problem: ArrayLike, size: int, streams: Streams, resamples: int = RESAMPLES) -> ByProblem:
        """Entries of ``size`` problems; equal ``streams`` give equal resamples, so policies stay paired."""
        weights = resample_weights(size, resamples, streams.generator("problems"))
        return ByProblem(problem=np.asarray(problem, dtype=np.int64), size=size, weights=weights)

    def mean(
        self,
        values: ArrayLike,
        mask: NDArray[np.bool_] | None = None,
        within: tuple[float, float] = ANY,
    ) -> Resampled:
        """Mean of the entries that are not NaN, among those of the mask.

        Args:
            values: ``[entry]``.
            mask: entries to use, bool ``[entry]``; all by default.
            within: what the quantity can be.
        """
        numbers = np.asarray(values, dtype=np.float64)
        used = ~np.isnan(numbers) if mask is None else ~np.isnan(numbers) & mask
        count = np.bincount(self.problem[used], minlength=self.size).astype(np.float64)
        total = np.bincount(self.problem[used], weights=numbers[used], minlength=self.size)
        return self._ratio(total.astype(np.float64), count, within)

    def _ratio(
        self, total: NDArray[np.float64], count: NDArray[np.float64], within: tuple[float, float]
    ) -> Resampled:
        there = count > 0
        n = int(there.sum())
        if n == 0:
            return Resampled(estimate=NOTHING, n=0, replicates=np.full(len(self.weights), np.nan))
        value = float(total[there].sum() / count[there].sum())
        below = self.weights[:, there] @ count[there]
        above = self.weights[:, there] @ total[there]
        replicates = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
        return Resampled(estimate=interval(value, replicates, n, within), n=n, replicates=replicates)

    def statistic(self, values: NDArray, of: Callable[[NDArray, NDArray], float]) -> Resampled:
        """Any statistic of weighted entries.

        Args:
            values: ``[entry]``.
            of: ``(values, weights [entry]) -> number``; weights are whole numbers.
        """
        n = len(np.unique(self.problem))
        if n == 0:
            return Resampled(estimate=NOTHING, n=0, replicates=np.full(len(self.weights), np.nan))
        value = of(values, np.ones(len(values)))
        replicates = np.array([of(values, weights[self.problem]) for weights in self.weights])
        return Resampled(estimate=interval(value, replicates, n), n=n, replicates=replicates)


def interval(
    value: float, replicates: NDArray[np.float64], units: int, within: tuple[float, float] = ANY
) -> Estimate:
    """The percentile interval around a value; it has no ends where it rests on a single problem or none."""
    known = replicates[~np.isnan(replicates)]
    if units < 2 or len(known) < 2:
        return Estimate(value)
    ranged = np.isfinite(within[0]) and np.isfinite(within[1])
    low, high = percentile_interval(known, value, units, bounds=within if ranged else None)
    return Estimate(value, max(float(low), within[0]), min(float(high), within[1]))


def weighted_quantile(values: NDArray, weights: NDArray, share: float) -> float:
    """The smallest value that at least ``share`` of the weight does not exceed; NaN without weight."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    if not len(below) or not below[-1] > 0:
        return float("nan")
    return float(values[order][np.searchsorted(below, share * below[-1])])
