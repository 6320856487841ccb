"""Rates and pass@k if the first draws of a problem decided how many it got.

Every problem gets ``n1`` draws; only problems with fewer than ``enough`` successes get the other draws. The
pooled rate ``c / n`` is then biased: lucky problems stop and keep their luck, unlucky ones go on and dilute
theirs (at p = .25 with 32 + 224 draws and ``enough`` = 8 its mean is .279). The unbiased estimate is that of
the first stage, averaged given all counts,

    estimate = f(n1, c1)                                        where the problem stopped
    estimate = sum_j w_j f(n1, j),  w_j ~ C(n1, j) C(n - n1, c - j),  j < enough      where it went on

with ``f`` the success rate (or pass@k for ``k <= n1``). Far from the stopping rule it equals ``c / n`` (or
pass@k from all n draws) exactly. Denominator: the paths to ``(n, c)`` that do not stop early. Known bias:
none. Degenerate: if no path leads to ``(n, c)``, the draws do not follow the rule, and an error is raised.

Source: Girshick, Mosteller and Savage 1946, "Unbiased estimates for certain binomial sampling problems".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from keyturn.core.statistics.pass_at_k import pass_at_k


def first_stage_weights(
    n1: NDArray[np.int64], n: NDArray[np.int64], c: NDArray[np.int64], enough: int
) -> NDArray[np.float64]:
    """``P(c1 = j | c, went on)`` for ``j < enough``; float64 ``[problem, enough]``, rows sum to 1.

    Args:
        n1: draws of the first stage, ``[problem]``.
        n: all draws, larger than ``n1``.
        c: all successes.
        enough: number of successes in the first stage after which drawing stops.

    Raises:
        ValueError: the counts of a problem are impossible for one that went on.
    """
    j = np.arange(enough)[None, :].astype(np.float64)
    first, total = n1[:, None].astype(np.float64), n[:, None].astype(np.float64)
    rest, late = total - first, c[:, None] - j
    possible = (j <= first) & (late >= 0) & (late <= rest)
    if not possible.any(axis=1).all():
        raise ValueError("a problem of the second stage has more successes than the two-stage rule allows")
    late = np.where(possible, late, 0.0)
    early = np.where(possible, j, 0.0)
    log_paths = _log_choose(first, early) + _log_choose(rest, late)
    log_paths = np.where(possible, log_paths, -np.inf)
    paths = np.exp(log_paths - log_paths.max(axis=1, keepdims=True))
    return paths / paths.sum(axis=1, keepdims=True)


def rate_after_going_on(
    n1: NDArray[np.int64], n: NDArray[np.int64], c: NDArray[np.int64], enough: int
) -> NDArray[np.float64]:
    """Unbiased success rate of problems that went on to the second stage, ``[problem]``."""
    return first_stage_weights(n1, n, c, enough) @ np.arange(enough, dtype=np.float64) / n1


def pass_at_k_after_going_on(
    n1: NDArray[np.int64], n: NDArray[np.int64], c: NDArray[np.int64], enough: int, k: int
) -> NDArray[np.float64]:
    """Unbiased pass@k of problems that went on, for ``k <= n1``, ``[problem]``."""
    weights = first_stage_weights(n1, n, c, enough)
    j = np.minimum(np.arange(enough)[None, :], n1[:, None])
    return (weights * pass_at_k(n1[:, None], j, k)).sum(axis=1)


def _log_choose(n: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
