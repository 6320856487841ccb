"""What a split of draws into abstractions and solutions is worth, computed exactly.

A problem has abstractions ``z``; a policy writes them by a law ``q`` and solves the problem behind ``z`` with
probability ``s``. Of ``n = m k`` draws, ``m`` abstractions get ``k`` solutions each, and one right solution is
enough::

    independent   1 - (sum_z q_z (1 - s_z)^k)^m        each abstraction is drawn by itself
    distinct      1 - e_m(f) / C(Z, m),  f_z = (1 - s_z)^k,  e_m the m-th elementary symmetric polynomial
                                                       m different ones of Z, every choice equally likely
    told          1 - (1 - max_z s_z)^n                the best abstraction of the problem is known: a ceiling

Since ``E[f^k]^(1/k)`` grows with ``k``, of independent abstractions the best split is always one solution
each, whatever ``q`` and ``s`` are, and it is worth as much as ``n`` draws of success ``sum q s``: abstractions
that the policy draws by itself add nothing to plain sampling unless ``sum q s`` is above plain success.
Different ones can be worth more. Denominator: one problem; take the mean over problems, not of ``q`` and ``s``.
Degenerate: no abstraction is an error. Known bias: none; what ``q`` leaves out up to 1 counts as never right.
Source: ours; the question: Qu et al. 2025 (2510.02263).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.errors import UsageError


def splits(draws: int) -> Iterator[tuple[int, int]]:
    """Every ``(abstractions, solutions)`` whose product is a number of draws, the fewest abstractions first."""
    for count in range(1, draws + 1):
        if draws % count == 0:
            yield count, draws // count


def independent(law: ArrayLike, success: ArrayLike, count: int, solutions: int) -> float:
    """Success of any draw where abstractions are drawn by a law.

    Args:
        law: probability of each abstraction, ``[abstraction]``; what is left to 1 never succeeds.
        success: of one solution behind each.
        count: abstractions that are drawn.
        solutions: of each.

    Raises:
        UsageError: no abstraction, or numbers that are no probabilities.
    """
    chances, rates = _checked(law, success)
    if chances.sum() > 1 + 1e-6:
        raise UsageError(f"a law that sums to {chances.sum():g}", fix="probabilities that sum to 1 at most")
    left = max(1.0 - float(chances.sum()), 0.0)
    return 1.0 - (float(chances @ (1.0 - rates) ** solutions) + left) ** count


def distinct(success: ArrayLike, count: int, solutions: int) -> float:
    """Success of any draw where ``count`` different abstractions are taken, every choice equally likely.

    Raises:
        UsageError: there are not so many.
    """
    _, rates = _checked(success, success)
    if not 0 < count <= len(rates):
        raise UsageError(f"{count} different abstractions of {len(rates)}", fix=f"1 to {len(rates)}")
    symmetric = np.zeros(count + 1)
    symmetric[0] = 1.0
    for failing in (1.0 - rates) ** solutions:
        symmetric[1:] += failing * symmetric[:-1]
    return 1.0 - float(symmetric[count]) / math.comb(len(rates), count)


def told(success: ArrayLike, draws: int) -> float:
    """Success of any draw where the best abstraction is known."""
    _, rates = _checked(success, success)
    return 1.0 - (1.0 - float(rates.max())) ** draws


def _checked(law: ArrayLike, success: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    chances, rates = np.asarray(law, dtype=np.float64), np.asarray(success, dtype=np.float64)
    both = np.concatenate([chances, rates])
    if not rates.size or chances.shape != rates.shape or both.min() < 0 or both.max() > 1 + 1e-6:
        raise UsageError(
            "abstractions need a law and successes", fix="as many probabilities of each, at least one"
        )
    return chances, np.minimum(rates, 1.0)
