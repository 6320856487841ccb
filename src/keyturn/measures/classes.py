"""What the base could already do: problems are reachable within K draws, unreachable, at chance or undecided.

With the Jeffreys posterior of base success ``p | c, n ~ Beta(c + 1/2, n - c + 1/2)`` and the chance g (file
``chance``; 0 where nothing is known), the first rule that holds decides:

    unreachable   P(p < 1/K) >= .95
    reachable     P(p > r) >= .95,  r = 1/K where chance is unknown, else ``chance.reach_threshold``
    at chance     P(p > g) < .95 where luck counts, P(success by luck in K draws) = 1 - (1 - g)^K > .05
    undecided     else

In a cell that is at chance as a whole, every problem that is not unreachable is at chance too, unless it is
reachable with certainty ``1 - .05 / m``, which is what all m problems of the list ask for together.

Denominator: the draws given. They must not be those on which p is estimated afterwards (the caller sees to
that, file ``masses``): a problem called unreachable because it had no success would otherwise also be credited
with ``p = 0``. Degenerate: without draws the prior remains, which is undecided for every K >= 2. At K = 64 one
success in 11 draws is enough for reachable, and unreachable takes 123 draws without a success.

Known bias: problems with p near 1/K stay undecided, by design. Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.core.statistics.proportions import probability_below
from keyturn.measures.chance import reach_threshold
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED, UNREACHABLE

CERTAINTY = 0.95
"""Posterior probability that a class needs: the usual one-sided error of 5 % per problem."""


def classify(
    c: NDArray[np.int64],
    n: NDArray[np.int64],
    ks: Sequence[int],
    *,
    chance: NDArray[np.float64] | None = None,
    at_chance: NDArray[np.bool_] | None = None,
    bound: NDArray[np.float64] | None = None,
) -> NDArray[np.int8]:
    """Classes at several budgets at once.

    Args:
        c: successes, ``[..., problem]``.
        n: draws, the same shape.
        ks: budgets.
        chance: rate at which a problem is solved by luck, ``[problem]``, NaN unknown.
        at_chance: problems of cells that are at chance as a whole, ``[problem]``.
        bound: certified lower bound of p, ``[problem]``, NaN unknown; above the threshold it makes a problem
            reachable whatever was drawn.

    Returns:
        int8 ``[..., problem, k]``.
    """
    problems = c.shape[-1]
    luck = np.full(problems, np.nan) if chance is None else np.asarray(chance, dtype=np.float64)
    flagged = np.zeros(problems, dtype=bool) if at_chance is None else at_chance
    budgets = np.asarray(ks, dtype=np.float64)
    pairs, place = _distinct(c, n, luck, flagged)
    pair_c, pair_n, pair_luck, pair_flag = pairs
    below = probability_below(pair_c[:, None], pair_n[:, None], 1 / budgets)
    reach = reach_threshold(pair_luck[:, None], budgets)
    above = 1 - probability_below(pair_c[:, None], pair_n[:, None], reach)
    luck_known = np.nan_to_num(pair_luck)
    lucky = (probability_below(pair_c, pair_n, luck_known) > 1 - CERTAINTY) | pair_flag
    luck_counts = 1 - (1 - luck_known[:, None]) ** budgets > 1 - CERTAINTY
    together = 1 - (1 - CERTAINTY) / max(problems, 1)
    wanted = np.where(pair_flag, together, CERTAINTY)[:, None]
    table = np.full(below.shape, UNDECIDED, dtype=np.int8)
    table[lucky[:, None] & luck_counts] = AT_CHANCE
    table[above >= wanted] = REACHABLE
    table[below >= CERTAINTY] = UNREACHABLE
    classes = table[place.reshape(c.shape)]
    if bound is not None:
        certified = np.nan_to_num(bound)[:, None] > reach_threshold(luck[:, None], budgets)
        classes = np.where(certified, np.int8(REACHABLE), classes)
    return classes


def _distinct(
    c: NDArray[np.int64], n: NDArray[np.int64], luck: NDArray[np.float64], flagged: NDArray[np.bool_]
) -> tuple[tuple[NDArray, NDArray, NDArray, NDArray], NDArray[np.int64]]:
    """The distinct (c, n, chance, flag) and where each problem's is: the incomplete beta function is the
    cost."""
    rates, which = np.unique(luck, return_inverse=True)
    kind = which * 2 + flagged
    width = int(n.max(initial=0)) + 1
    key = (np.broadcast_to(kind, c.shape) * width + n) * width + c
    pairs, place = np.unique(key, return_inverse=True)
    kinds = pairs // width**2
    return (pairs % width, pairs // width % width, rates[kinds // 2], kinds % 2 == 1), place


def exact_classes(exact: NDArray[np.float64], k: int) -> NDArray[np.int8]:
    """Classes from the exact success probability, ``[problem]``; undecided where it is unknown or 1/K."""
    classes = np.full(exact.shape, UNDECIDED, dtype=np.int8)
    classes[exact < 1 / k] = UNREACHABLE
    classes[exact > 1 / k] = REACHABLE
    return classes


def class_agreement(classes: NDArray[np.int8], exact: NDArray[np.float64], k: int) -> tuple[int, int]:
    """How many problems are decided by sampling and known exactly: those that agree, and all of them."""
    decided = ((classes == REACHABLE) | (classes == UNREACHABLE)) & np.isfinite(exact)
    return int((classes == exact_classes(exact, k))[decided].sum()), int(decided.sum())
