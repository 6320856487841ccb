"""Two arms on the same problems: the difference per problem, and its interval or its test.

Pairing removes the spread of difficulty between problems, which two separate intervals keep. Denominator:
the problems that both arms have (NaN in either leaves a problem out). Degenerate: no such problem gives NaN.

Source: paired bootstrap over problems (Efron 1987); sign-flip permutation (Fisher 1935), two-sided, with
the observed arrangement counted among the permutations, so that p is never 0.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import RESAMPLES, bootstrap_mean
from keyturn.core.statistics.proportions import LEVEL


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    clusters: ArrayLike | None = None,
    method: str = "percentile",
    level: float = LEVEL,
) -> Estimate:
    """Mean of ``second - first`` over the problems that have both, with its bootstrap interval.

    Args:
        first: ``[problem]``.
        second: ``[problem]``.
        generator: randomness.
        resamples: bootstrap resamples.
        clusters: a label per problem; clusters are resampled whole.
        method: ``"percentile"`` or ``"bca"``.
        level: coverage wanted.
    """
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return bootstrap_mean(
        difference, generator, resamples=resamples, clusters=clusters, method=method, level=level
    )


def sign_flip_p_value(
    first: ArrayLike, second: ArrayLike, generator: np.random.Generator, *, flips: int = RESAMPLES
) -> float:
    """Two-sided p-value of the mean difference when signs are exchangeable; NaN without a problem."""
    difference = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        return math.nan
    signs = generator.integers(2, size=(flips, difference.size)) * 2.0 - 1.0
    sums = np.abs(signs @ difference)
    # A sum that equals the observed one up to rounding must count as reaching it.
    reach = np.abs(difference.sum()) * (1 - 1e-12) - 1e-15
    return float((1 + (sums >= reach).sum()) / (flips + 1))
