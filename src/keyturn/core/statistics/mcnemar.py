"""McNemar's exact test: which of two policies solved more of the problems that only one of them solved.

``p = min(1, 2 P(X <= min(b, c)))`` with ``X ~ Binomial(b + c, 1/2)``. Denominator: the discordant problems
alone; concordant ones carry no information. Degenerate: no discordant problem gives p = 1. Known bias:
conservative (its true level is below the nominal one, far below if few problems are discordant).

Source: McNemar 1947; the exact (binomial) form.
"""

from __future__ import annotations

from scipy import stats


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value.

    Args:
        only_first: problems that only the first policy solved.
        only_second: problems that only the second one solved.

    Raises:
        ValueError: a negative count.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError("counts of discordant problems cannot be negative")
    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
