"""Many tests at once: Benjamini-Hochberg within one declared family.

``q_(i) = min_{j >= i} p_(j) m / j`` over the sorted p-values of the family. Denominator: the family's size
``m``, NaN p-values left out. Known bias: controls the false discovery rate under independence and positive
dependence only. Source: Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values in the order given; NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    if order.size:
        stepped = p[order] * order.size / np.arange(1, order.size + 1)
        adjusted[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return adjusted
