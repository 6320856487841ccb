"""Intervals over problems: whole problems (or whole clusters of them) are resampled, never single draws.

A resample is a row of integer weights, so every statistic of it is one matrix product:
``weights [resample, problem] @ values [problem, column] / weights.sum()``. Random are the problems alone; the
noise of each problem's own draws is part of its value, so the interval covers both.

Percentile and BCa (bias-corrected and accelerated; acceleration by the jackknife over problems or clusters).
Denominator: the problems. Degenerate: no problem gives NaN; one problem gives an interval without ends
(NaN). If every problem has the same value, resampling shows no spread, and an interval of width 0 would claim
certainty. The limits then come from the largest share of other problems that ``m`` equal ones are compatible
with, ``1 - .025^(1/m)`` (the exact binomial limit, "rule of three"), with values as far away as the range
allows. Limits never leave the range of the quantity if one is given.

Known bias: with few problems the percentile interval is too short, so deviations are widened by
``sqrt(m / (m - 1))`` and by the ratio of Student's to the normal quantile, for m problems (or clusters).
Measured coverage is in docs/results/operating_characteristic.md.

Source: Efron 1987, "Better Bootstrap Confidence Intervals"; Hesterberg 2015, "What teachers should know about
the bootstrap", section 4.3 (expanded percentiles; here the deviations are expanded); clusters: Cameron, Gelbach
and Miller 2008; Hanley and Lippman-Hand 1983 (nothing seen in m).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.proportions import LEVEL

RESAMPLES = 4000
"""Default resamples: the Monte Carlo error of a 2.5 % tail is then a quarter of a percentage point."""


def resample_weights(
    problems: int, resamples: int, generator: np.random.Generator, clusters: ArrayLike | None = None
) -> NDArray[np.float64]:
    """How often each problem is in each resample, float64 ``[resample, problem]``.

    Args:
        problems: number of problems.
        resamples: number of rows.
        generator: randomness.
        clusters: a label per problem (its base, its template); clusters are then drawn whole, ``[problem]``.
    """
    if problems == 0:
        return np.zeros((resamples, 0))
    if clusters is None:
        return _multiplicities(problems, resamples, generator)
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    if member.shape != (problems,):
        raise ValueError("every problem needs one cluster label")
    return _multiplicities(int(member.max()) + 1, resamples, generator)[:, member]


def _multiplicities(units: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    picks = generator.integers(units, size=(resamples, units), dtype=np.int32).astype(np.int64)
    picks += np.arange(resamples, dtype=np.int64)[:, None] * units
    return np.bincount(picks.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def resampled_means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of each resample: ``[problem, column]`` and ``[resample, problem]`` to ``[resample, column]``."""
    return (weights @ values) / weights.sum(axis=1, keepdims=True)


def small_sample_factor(units: int, level: float = LEVEL) -> float:
    """The factor that widens the deviations of a bootstrap over ``m`` units; NaN for fewer than two units.

    ``sqrt(m / (m - 1)) t / z`` with t the quantile of Student's distribution on m - 1 degrees of freedom and z
    the normal quantile.
    """
    if units < 2:
        return math.nan
    tail = (1 + level) / 2
    return math.sqrt(units / (units - 1)) * float(special.stdtrit(units - 1, tail) / special.ndtri(tail))


def unseen_share(units: int, level: float = LEVEL) -> float:
    """The largest share of units of another kind that is compatible with ``m`` observed units of one kind."""
    return 1 - ((1 - level) / 2) ** (1 / units) if units > 0 else math.nan


def percentile_interval(
    replicates: NDArray[np.float64],
    centre: ArrayLike,
    units: int,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of each column, ``(low, high)``.

    Args:
        replicates: ``[resample, column]``.
        centre: the estimates themselves, ``[column]``; deviations from them are widened.
        units: number of problems, or of clusters if those were resampled.
        level: coverage wanted.
        bounds: range of one unit's value, if it has one: limits stay inside, and a column that does not vary
            gets the width of the unseen share instead of none.
    """
    tail = (1 - level) / 2
    middle = np.asarray(centre, dtype=np.float64)
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    factor = small_sample_factor(units, level)
    low, high = middle + (low - middle) * factor, middle + (high - middle) * factor
    return (low, high) if bounds is None else within_bounds(middle, low, high, units, bounds, level)


def within_bounds(
    value: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    units: int,
    bounds: tuple[ArrayLike, ArrayLike],
    level: float = LEVEL,
    flat: ArrayLike = 1e-12,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits that stay in the range of one unit's value, and are never of width 0.

    Args:
        value, low, high: estimates and limits, of one shape.
        units: number of units behind them.
        bounds: smallest and largest value of a unit, as numbers or as one entry per column.
        level: coverage wanted.
        flat: width below which a column counts as constant; rounding leaves 1e-17. It is larger for a quantity
            that is 0 on nearly every unit, since a sample may miss all exceptions.
    """
    flat = np.abs(high - low) < np.asarray(flat)
    least, most = (np.asarray(edge, dtype=np.float64) for edge in bounds)
    unseen = unseen_share(units, level)
    low = np.where(flat, value - unseen * (value - least), low)
    high = np.where(flat, value + unseen * (most - value), high)
    return np.clip(low, least, most), np.clip(high, least, most)


def bootstrap_mean(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    clusters: ArrayLike | None = None,
    method: str = "percentile",
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """Mean of one value per problem, with its interval. NaN values are left out.

    Args:
        values: ``[problem]``.
        generator: randomness.
        resamples: bootstrap resamples.
        clusters: a label per problem; clusters are resampled whole.
        method: ``"percentile"`` or ``"bca"``.
        level: coverage wanted.
        bounds: range of one problem's value, see :func:`percentile_interval`; percentile only.

    Raises:
        ValueError: an unknown method.
    """
    if method not in ("percentile", "bca"):
        raise ValueError(f"unknown bootstrap method {method!r}: percentile or bca")
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    numbers = numbers[known]
    labels = None if clusters is None else np.asarray(clusters)[known]
    if numbers.size == 0:
        return Estimate(math.nan)
    mean = float(numbers.mean())
    units = numbers.size if labels is None else len(np.unique(labels))
    if units < 2:
        return Estimate(mean)
    weights = resample_weights(numbers.size, resamples, generator, labels)
    replicates = resampled_means(numbers[:, None], weights)[:, 0]
    if method == "bca":
        low, high = _bca_interval(replicates, mean, _jackknife(numbers, labels), level)
    else:
        low, high = map(float, percentile_interval(replicates, mean, units, level, bounds))
    return Estimate(mean, low, high)


def _jackknife(values: NDArray[np.float64], labels: NDArray | None) -> NDArray[np.float64]:
    """The mean without each problem, or without each cluster."""
    if labels is None:
        return (values.sum() - values) / (values.size - 1)
    _, member = np.unique(labels, return_inverse=True)
    sums = np.bincount(member, weights=values)
    sizes = np.bincount(member)
    return (values.sum() - sums) / (values.size - sizes)


def _bca_interval(
    replicates: NDArray[np.float64], estimate: float, jackknife: NDArray[np.float64], level: float
) -> tuple[float, float]:
    """Efron's BCa limits; plain percentiles if the estimate does not vary."""
    below = (np.mean(replicates < estimate) + np.mean(replicates <= estimate)) / 2
    deviation = jackknife.mean() - jackknife
    spread = float((deviation**2).sum())
    if spread == 0 or not 0 < below < 1:
        return float(replicates.min()), float(replicates.max())
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5)
    bias = float(special.ndtri(below))
    z = special.ndtri(np.array([(1 - level) / 2, 1 - (1 - level) / 2]))
    shifted = special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    low, high = np.quantile(replicates, shifted)
    return float(low), float(high)


def ratio_interval(
    numerators: NDArray[np.float64],
    denominators: NDArray[np.float64],
    units: int,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of ``numerator / denominator`` for a quantity whose denominator is positive.

    A resample whose denominator is not positive has no ratio. It counts as minus infinity for the lower limit
    and as plus infinity for the upper one, so doubt only widens the interval. With few units the quantiles are
    taken further out (expanded percentiles). If the interval is narrower than the share that ``units`` equal
    units can have missed, it gets that width, towards 0 below and towards 1 above.

    Args:
        numerators: ``[resample]``.
        denominators: ``[resample]``.
        units: number of problems (or clusters) behind them.
        level: coverage wanted.
    """
    sound = denominators > 0
    ratio = np.divide(numerators, denominators, out=np.zeros_like(numerators), where=sound)
    reach = float(special.ndtri((1 + level) / 2)) * small_sample_factor(units, level)
    tail = float(special.ndtr(-reach)) if units > 1 else (1 - level) / 2
    low = float(np.quantile(np.where(sound, ratio, -np.inf), tail, method="lower"))
    high = float(np.quantile(np.where(sound, ratio, np.inf), 1 - tail, method="higher"))
    unseen = unseen_share(units, level)
    if high - low < unseen:
        low, high = min(low, low - unseen * low), max(high, high + unseen * (1 - high))
    return low, high
