"""One proportion: ``c`` successes in ``n`` independent draws.

Posterior: ``p | c, n ~ Beta(c + 1/2, n - c + 1/2)`` (Jeffreys). Every function takes arrays of one shape
(or that broadcast) and returns that shape. ``n = 0`` gives NaN intervals, and tails of the prior.

Known bias: Wilson's interval is not exact. It covers 95 % on average over p and slightly less for some values
of p (Brown, Cai and DasGupta 2001).

Source: Brown, Cai and DasGupta (2001), "Interval Estimation for a Binomial Proportion", sections 3.1.1
(Wilson) and 4.3 (the Jeffreys posterior).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

LEVEL = 0.95


def check_counts(c: ArrayLike, n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(c, n)`` as float64 arrays of one shape.

    Raises:
        ValueError: a count is negative, or there are more successes than draws.
    """
    successes, draws = np.broadcast_arrays(np.asarray(c, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if np.any(successes < 0) or np.any(successes > draws):
        raise ValueError("a count of successes must lie between 0 and its number of draws")
    return successes, draws


def wilson(c: ArrayLike, n: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval ``(low, high)``."""
    successes, draws = check_counts(c, n)
    z = float(special.ndtri(1 - (1 - level) / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = successes / draws
        centre = (share + z**2 / (2 * draws)) / (1 + z**2 / draws)
        half = z / (1 + z**2 / draws) * np.sqrt(share * (1 - share) / draws + z**2 / (4 * draws**2))
    low = np.where(successes == 0, 0.0, centre - half)
    high = np.where(successes == draws, 1.0, centre + half)
    return np.where(draws > 0, low, np.nan), np.where(draws > 0, high, np.nan)


def jeffreys(share: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Equal-tailed interval of the Jeffreys posterior; at 0 and at 1 it reaches the end.

    Args:
        share: mean of n values between 0 and 1, which need not be 0 or 1 themselves: such a mean varies less
            than the share that is assumed here, so that the interval is too wide rather than too narrow.
        n: how many values.
        level: coverage wanted.
    """
    if not (0 <= share <= 1 and n > 0):
        return math.nan, math.nan
    tail = (1 - level) / 2
    a, b = share * n + 0.5, (1 - share) * n + 0.5
    low = 0.0 if share == 0 else float(special.betaincinv(a, b, tail))
    high = 1.0 if share == 1 else float(special.betaincinv(a, b, 1 - tail))
    return min(low, share), max(high, share)


def difference_of_shares(one: float, other: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of ``one - other`` from the Jeffreys limits of both (MOVER), n values behind each.

    Two policies on the same problems do well on the same ones, as a rule; taken as independent the interval is
    too wide rather than too narrow.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10;
    with Jeffreys limits: Laud 2017.
    """
    (low, high), (least, most) = jeffreys(one, n, level), jeffreys(other, n, level)
    value = one - other
    return value - math.hypot(one - low, most - other), value + math.hypot(high - one, other - least)


def probability_below(c: ArrayLike, n: ArrayLike, threshold: ArrayLike) -> NDArray[np.float64]:
    """``P(p < threshold | c, n)`` under the Jeffreys posterior; the prior's tail at n = 0."""
    successes, draws = check_counts(c, n)
    return special.betainc(successes + 0.5, draws - successes + 0.5, np.asarray(threshold, dtype=np.float64))
