"""A simultaneous band for a whole curve: sup-t, by bootstrap of whole curves over problems.

With the curve's mean ``m_k``, its bootstrap standard error ``s_k`` and ``t = max_k |m*_k - m_k| / s_k`` of
each resampled curve, the band is ``m_k +- q s_k`` with q the 95 % quantile of t. Random are the problems; a
resample takes each problem's curve whole. Denominator: the problems. Degenerate: points where the curve does
not vary (``s_k = 0``) do not enter t. If the range of a problem's value is given, they get the width of the
unseen share (``bootstrap.within_bounds``), otherwise none. Fewer than two problems give NaN. Known bias:
widened like all our bootstraps (``bootstrap.small_sample_factor``).

Source: Montiel Olea and Plagborg-Moller 2019, "Simultaneous confidence bands", algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.statistics.bootstrap import (
    RESAMPLES,
    resample_weights,
    resampled_means,
    small_sample_factor,
    within_bounds,
)
from keyturn.core.statistics.proportions import LEVEL


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A mean curve with its simultaneous band.

    Args:
        value: mean over problems, float64 ``[point]``.
        low: lower edge.
        high: upper edge.
        critical: the sup-t quantile (1.96 would be pointwise); NaN if nothing varies.
        replicates: the resampled mean curves, float64 ``[resample, point]``.
    """

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    critical: float
    replicates: NDArray[np.float64]


def sup_t_band(
    curves: NDArray[np.float64],
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    clusters: ArrayLike | None = None,
    level: float = LEVEL,
    bounds: tuple[float, float] | None = None,
    least_error: NDArray[np.float64] | None = None,
) -> Band:
    """The simultaneous band of a mean curve.

    Args:
        curves: one curve per problem, float64 ``[problem, point]``, without NaN.
        generator: randomness.
        resamples: bootstrap resamples.
        clusters: a label per problem; clusters are resampled whole.
        level: simultaneous coverage wanted.
        bounds: range of one problem's value: the band stays inside.
        least_error: minimum standard error of each point, ``[point]``, for rare values that these problems may
            not show.
    """
    problems, points = curves.shape
    units = problems if clusters is None else len(np.unique(np.asarray(clusters)))
    if units < 2:
        value = curves.mean(axis=0) if problems else np.full(points, np.nan)
        nothing = np.full(points, np.nan)
        return Band(value=value, low=nothing, high=nothing, critical=np.nan, replicates=np.empty((0, points)))
    value = curves.mean(axis=0)
    replicates = resampled_means(curves, resample_weights(problems, resamples, generator, clusters))
    spread = replicates.std(axis=0, ddof=1)
    # Rounding leaves a spread of 1e-17 on a constant curve, and t would be a ratio of rounding errors.
    varies = spread > 1e-12
    critical, half = float("nan"), np.zeros(points)
    if varies.any():
        largest = (np.abs(replicates - value)[:, varies] / spread[varies]).max(axis=1)
        critical = float(np.quantile(largest, level))
        wide = spread if least_error is None else np.maximum(spread, least_error)
        half = np.where(varies, critical * wide * small_sample_factor(units, level), 0.0)
    low, high = value - half, value + half
    if bounds is not None:
        low, high = within_bounds(value, low, high, units, bounds, level)
    return Band(value=value, low=low, high=high, critical=critical, replicates=replicates)
