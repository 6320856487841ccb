"""What the base could already do: each problem reachable, unreachable or undecided within K draws.

With the Jeffreys posterior of base success ``p | c, n ~ Beta(c + 1/2, n - c + 1/2)``:

    reachable     P(p > r) >= .95,  r = max(1/K, 2 g)   (g: rate at which the answer is guessed)
    unreachable   P(p < 1/K) >= .95
    undecided     else

Denominator: the draws given, which must not be those on which p is estimated afterwards (the caller's
business, see ``masses``): a problem called unreachable because it had no success would otherwise also be
credited with ``p = 0``. Degenerate: no draws leave the prior, which is undecided for every K >= 2. At K = 64
one success in 11 draws is enough for reachable, and it takes 123 draws without one for unreachable.

Known bias: problems with p near 1/K stay undecided, by design. Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.core.statistics.proportions import probability_below
from keyturn.measures.verdict import REACHABLE, UNDECIDED, UNREACHABLE

CERTAINTY = 0.95
"""Posterior probability that a class asks for: the usual one-sided 5 % error per problem."""

GUESS_FACTOR = 2.0
"""How often above its guessing rate a problem must be answered to count as reached: a guesser who is lucky in
its favourite answers stays below twice the average rate."""


def reach_thresholds(k: int, guess: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """The success probability above which a problem counts as reached; float64 ``[problem]`` or ``[1]``."""
    rates = np.zeros(1) if guess is None else np.nan_to_num(guess)
    return np.maximum(1 / k, GUESS_FACTOR * rates)


def classify(
    c: NDArray[np.int64],
    n: NDArray[np.int64],
    ks: Sequence[int],
    *,
    guess: NDArray[np.float64] | None = None,
    bound: NDArray[np.float64] | None = None,
) -> NDArray[np.int8]:
    """Classes at several budgets at once.

    Args:
        c: successes, ``[..., problem]``.
        n: draws, the same shape.
        ks: budgets.
        guess: rate at which the answer is guessed, ``[problem]``, NaN unknown.
        bound: certified lower bound of p, ``[problem]``, NaN unknown; above the threshold it makes a problem
            reachable whatever was drawn.

    Returns:
        int8 ``[..., problem, k]``.
    """
    problems = c.shape[-1]
    rates = np.zeros(problems) if guess is None else np.nan_to_num(guess)
    distinct, which = np.unique(rates, return_inverse=True)
    # Few pairs (c, n, g) are distinct: the incomplete beta function is the cost of a verdict.
    width = int(n.max(initial=0)) + 1
    key = (np.broadcast_to(which, c.shape) * width + n) * width + c
    pairs, place = np.unique(key, return_inverse=True)
    pair_c, pair_n, pair_g = pairs % width, pairs // width % width, distinct[pairs // width**2]
    budgets = np.asarray(ks, dtype=np.float64)
    below = probability_below(pair_c[:, None], pair_n[:, None], 1 / budgets)
    reach = np.maximum(1 / budgets, GUESS_FACTOR * pair_g[:, None])
    below_reach = probability_below(pair_c[:, None], pair_n[:, None], reach) if guess is not None else below
    table = np.full(below.shape, UNDECIDED, dtype=np.int8)
    table[below >= CERTAINTY] = UNREACHABLE
    table[1 - below_reach >= CERTAINTY] = REACHABLE
    classes = table[place.reshape(c.shape)]
    if bound is not None:
        certified = np.nan_to_num(bound)[:, None] > np.maximum(1 / budgets, GUESS_FACTOR * rates[:, None])
        classes = np.where(certified, np.int8(REACHABLE), classes)
    return classes


def exact_classes(exact: NDArray[np.float64], k: int) -> NDArray[np.int8]:
    """Classes from the exact success probability, ``[problem]``; undecided where it is unknown or 1/K."""
    classes = np.full(exact.shape, UNDECIDED, dtype=np.int8)
    classes[exact < 1 / k] = UNREACHABLE
    classes[exact > 1 / k] = REACHABLE
    return classes


def class_agreement(classes: NDArray[np.int8], exact: NDArray[np.float64], k: int) -> tuple[int, int]:
    """Of the problems that sampling decides and whose exact p is known: those that agree, and all of them."""
    decided = (classes != UNDECIDED) & np.isfinite(exact)
    return int((classes == exact_classes(exact, k))[decided].sum()), int(decided.sum())
