"""pass@k: the probability that at least one of k draws succeeds, per problem.

``pass@k = 1 - C(n - c, k) / C(n, k)`` from c successes in n draws, for every ``k <= n``; 1 if fewer than k
draws failed. Denominator: the C(n, k) subsets of k draws. Degenerate: ``n < k`` raises, since the draws do not
determine it. :func:`posterior_pass_at_k` gives the posterior mean instead, which must be labelled as such.

Known bias: none for ``1 - (1 - p)^k`` with a number of draws fixed in advance (for draws in two stages see
``two_stage``). At ``k = n`` it is the indicator ``c > 0``: unbiased and of maximal variance. The plug-in
``1 - (1 - c/n)^k`` is biased low: at p = .01, n = 64, k = 32 it averages .224 against .275.

Source: Chen et al. 2021 (arXiv 2107.03374), equation 1, computed as ``-expm1(sum log1p(-x / (n - j)))`` over
``j < min(c, k)`` with ``x = max(c, k)`` (the ratio is symmetric in c and k), exact where log-gammas cancel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from keyturn.core.statistics.proportions import check_counts


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """Unbiased pass@k, elementwise on arrays that broadcast.

    Args:
        n: draws.
        c: successes among them.
        k: budget, 1 or more.

    Raises:
        ValueError: some ``k > n`` or ``k < 1``, or impossible counts.
    """
    successes, draws = check_counts(c, n)
    successes, draws, budget = np.broadcast_arrays(successes, draws, np.asarray(k, dtype=np.float64))
    if np.any(budget > draws):
        raise ValueError("pass@k needs at least k draws of every problem (beyond them: posterior_pass_at_k)")
    if np.any(budget < 1):
        raise ValueError("pass@k needs k >= 1")
    fewer, more = np.minimum(successes, budget), np.maximum(successes, budget)
    log_miss = np.zeros(draws.shape)
    # more + fewer > draws: fewer than k draws failed, so every subset of k contains a success.
    missed = draws - more >= fewer
    for j in range(int(fewer.max(initial=0))):
        still = (j < fewer) & missed
        log_miss += np.log1p(-np.divide(more, draws - j, out=np.zeros(draws.shape), where=still))
    return np.where(missed, -np.expm1(log_miss) + 0.0, 1.0)


def pass_at_each_k(n: ArrayLike, c: ArrayLike, ks: Sequence[int]) -> NDArray[np.float64]:
    """:func:`pass_at_k` at many budgets in one pass, ``[problem, k]``; NaN where ``k > n``.

    The product of failure rates over k draws is the product over k - 1 draws times one factor, so all budgets
    up to the largest cost as much as the largest alone.

    Args:
        n: draws, ``[problem]``.
        c: successes among them, ``[problem]``.
        ks: budgets, 1 or more each.
    """
    successes, draws = check_counts(c, n)
    pairs, place = np.unique(np.stack([draws, successes], axis=1), axis=0, return_inverse=True)
    total, good = pairs[:, :1], pairs[:, 1:]
    left = total - np.arange(max(ks, default=0))[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.log1p(-np.minimum(good / np.where(left > 0, left, np.nan), 1.0))
        miss = np.cumsum(factor, axis=1)
    chosen = miss[:, np.asarray(ks, dtype=np.int64) - 1] if len(ks) else np.empty((len(pairs), 0))
    return (-np.expm1(chosen) + 0.0)[place.ravel()]


def posterior_pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """Posterior mean of ``1 - (1 - p)^k`` under ``p ~ Beta(c + 1/2, n - c + 1/2)``; NaN if n = 0.

    For k beyond a problem's own draws. It depends on the prior: at c = 0 and k = n it is .27, not 0.
    """
    successes, draws = check_counts(c, n)
    budget = np.asarray(k, dtype=np.float64)
    a, b = successes + 0.5, draws - successes + 0.5
    log_miss = special.betaln(a, b + budget) - special.betaln(a, b)
    return np.where(draws > 0, -np.expm1(log_miss), np.nan)


def pass_at_k_noise(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """A bound on the sampling variance of :func:`pass_at_k`, smooth in the counts; elementwise.

    ``(k / n) E[s (1 - s)]`` with ``s = 1 - (1 - p)^k`` and ``p ~ Beta(c + 1, n - c + 1/2)``: the variance of a
    U-statistic is at most k/n times that of its kernel. Near k = n a problem is missed rarely, and a sample of
    problems often shows no miss at all; this bound still allows for misses. It is 0 if nothing succeeded (then
    the data show nothing about rare success) or if n = 0.

    Source: Hoeffding 1948, "A class of statistics with asymptotically normal distribution", theorem 5.2.
    """
    successes, draws = check_counts(c, n)
    budget = np.asarray(k, dtype=np.float64)
    a, b = successes + 1.0, draws - successes + 0.5
    once, twice = (np.exp(special.betaln(a, b + j) - special.betaln(a, b)) for j in (budget, 2 * budget))
    share = np.divide(budget, draws, out=np.zeros(np.broadcast(budget, draws).shape), where=draws > 0)
    return np.where(successes > 0, np.minimum(share, 1.0) * (once - twice), 0.0)


def powers_of_two(limit: int) -> tuple[int, ...]:
    """1, 2, 4... up to ``limit``, and ``limit`` itself."""
    ks = [1 << j for j in range(max(limit, 0).bit_length())]
    return tuple(ks if not ks or ks[-1] == limit else [*ks, limit])
