"""What the base does by luck, and which cells of problems it solves no better than that.

The chance ``g_i`` of a problem is the rate of successes that use nothing of the tested ability: a valid trace
whose links were drawn at random (known exactly in CHAIN), or a right answer without reading the problem
(measured, file ``guess``). An upper bound of chance decides nothing; it is only printed. With base success
``p_i``:

    ability    a_i = (p_i - g_i) / (1 - g_i)      the share of draws that succeed by more than luck
    surely more than luck    p_i > g_i + min(g_i, (1 - g_i) / 2)   ability gives more successes than luck does,
                                                                   or succeeds in half of the draws
    reached    p_i > g_i + max((1 - g_i) / K, min(g_i, (1 - g_i) / 2))     ability above 1/K, and more than luck

A cell is *at chance* where the mean of ``p_i - g_i`` over its problems is not surely above 0 (one-sided
Student's t at 95 % over problems). Denominator: the problems of the cell whose chance is known. Degenerate: a
single problem has no spread, so this test never calls its cell at chance. Known bias: where a base has habits,
chance differs between problems. The mean over a cell does not suffer from that, but single problems do, hence
the margin of "more than luck". Source: ours (docs/verdict.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

SURE = 0.95
"""One-sided confidence with which a cell must succeed more often than by chance."""


def more_than_luck(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Success above which most of it is not luck; any shape, NaN (unknown chance) counts as 0."""
    g = np.nan_to_num(chance)
    return g + np.minimum(g, (1 - g) / 2)


def reach_threshold(chance: NDArray[np.float64], k: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Base success above which a problem counts as reached within ``k`` draws; shapes broadcast.

    Args:
        chance: rate of luck, NaN unknown.
        k: budgets.
    """
    g = np.nan_to_num(chance)
    return np.maximum(g + (1 - g) / k, more_than_luck(g))


def cells_at_chance(
    rate: NDArray[np.float64], chance: NDArray[np.float64] | None, cells: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Problems whose cell the base solves no better than by chance, bool ``[problem]``.

    Args:
        rate: unbiased base success, ``[problem]``.
        chance: rate of luck, ``[problem]``, NaN unknown; None: nothing is known.
        cells: number of a problem's cell, ``[problem]``; None: all problems are one cell.
    """
    found = np.zeros(len(rate), dtype=bool)
    if chance is None:
        return found
    member = np.zeros(len(rate), dtype=np.int64) if cells is None else cells
    for cell in np.unique(member):
        here = np.flatnonzero((member == cell) & np.isfinite(chance) & np.isfinite(rate))
        if len(here) < 2:
            continue
        excess = rate[here] - chance[here]
        error = excess.std(ddof=1) / np.sqrt(len(here))
        found[here] = excess.mean() - special.stdtrit(len(here) - 1, SURE) * error <= 0
    return found
