"""Two policies on the same problems: the difference per problem, and its interval.

Pairing removes the spread of difficulty between problems, which two separate intervals keep. Denominator:
the problems that both arms have (NaN in either leaves a problem out). Degenerate: no such problem gives NaN.

Source: paired bootstrap over problems (Efron 1987).
"""

from __future__ import annotations

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
