"""Kitagawa's split of a difference of two weighted means into weights and rates, for each problem.

With the share ``w_s`` of each strategy s among the draws of a problem, and its accuracy ``a_s``:

    gain = routing + execution,   routing   = sum_s (w1_s - w0_s) (a0_s + a1_s) / 2
                                  execution = sum_s (a1_s - a0_s) (w0_s + w1_s) / 2

The accuracy of a strategy comes from the policy's own draws where its share among them is ``OWN_DRAWS`` or
more, else from draws with its prefix forced. A strategy that has neither, in either policy, is left to the
remainder ``gain - routing - execution``, which is reported under its own name and never spread over the two.

Denominator: the draws of the problem. Degenerate: a strategy that neither policy uses contributes nothing.
Known bias: forced draws answer "what if this strategy had been taken"; own draws do not, where the policy
takes the strategy on easier attempts. Source: Kitagawa 1955, "Components of a difference between two rates";
Oaxaca 1973.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.rollouts.grades import Answers

OWN_DRAWS = 0.05
"""Share from which a strategy's own draws give its accuracy: 3 of 64 draws. With fewer draws a single success
moves the accuracy by a third or more."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """Graded draws and successes by strategy, int64 ``[problem, strategy]`` each."""

    n: NDArray[np.int64]
    c: NDArray[np.int64]

    def at(self, index: NDArray[np.int64]) -> Counted:
        """Those of some problems."""
        return Counted(n=self.n[index], c=self.c[index])


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """The gain of each problem in three parts, float64 ``[problem]`` each; they sum to the gain."""

    gain: NDArray[np.float64]
    routing: NDArray[np.float64]
    execution: NDArray[np.float64]
    unattributed: NDArray[np.float64]


def codes_of(column: NDArray, names: Sequence[str]) -> NDArray[np.int64]:
    """The place of each row's strategy in ``names``, ``[row]``."""
    place = {name: j for j, name in enumerate(names)}
    return np.array([place[str(name)] for name in column], dtype=np.int64)


def count_by(answers: Answers, codes: NDArray[np.int64], size: int, rows: NDArray[np.bool_]) -> Counted:
    """Graded draws and successes by problem and strategy.

    Args:
        answers: whose rows.
        codes: strategy of each row, ``[row]``.
        size: how many strategies there are.
        rows: which rows count, bool ``[row]``.
    """
    success = answers.success
    graded = np.isfinite(success) & rows
    cell = answers.problem[graded].astype(np.int64) * size + codes[graded]
    shape = (len(answers.problems), size)
    n = np.bincount(cell, minlength=shape[0] * size).reshape(shape)
    c = np.bincount(cell, weights=success[graded], minlength=shape[0] * size).reshape(shape)
    return Counted(n=n, c=np.rint(c).astype(np.int64))


def kitagawa(
    base: Counted,
    tuned: Counted,
    forced: Mapping[str, NDArray[np.float64]],
    *,
    base_rate: NDArray[np.float64] | None = None,
) -> Split:
    """Split the gain of every problem.

    Args:
        base, tuned: draws by strategy, at least one per problem.
        forced: ``"base"`` and ``"tuned"`` -> accuracy under a forced prefix, float64 ``[problem, strategy]``,
            NaN where it was not drawn.
        base_rate: unbiased base success, ``[problem]``, where it differs from successes over draws (draws in
            two stages); the base's accuracies are scaled to it, so that the parts still sum to the gain.
    """
    share, accuracy, known = {}, {}, {}
    rates = {}
    for policy, counted in (("base", base), ("tuned", tuned)):
        total = counted.n.sum(axis=1, keepdims=True)
        rate = counted.c.sum(axis=1) / total[:, 0]
        scale = np.ones_like(rate)
        if policy == "base" and base_rate is not None:
            scale = np.divide(base_rate, rate, out=np.ones_like(rate), where=rate > 0)
            rate = base_rate
        rates[policy] = rate
        share[policy] = counted.n / total
        own = np.divide(counted.c, counted.n, out=np.full(counted.n.shape, np.nan), where=counted.n > 0)
        by_draws = share[policy] >= OWN_DRAWS
        elsewhere = forced.get(policy, np.full(counted.n.shape, np.nan))
        accuracy[policy] = np.where(by_draws, own * scale[:, None], elsewhere)
        known[policy] = ~np.isnan(accuracy[policy])
    both = known["base"] & known["tuned"]
    a0, a1 = (np.where(both, accuracy[policy], 0.0) for policy in ("base", "tuned"))
    w0, w1 = share["base"], share["tuned"]
    routing = ((w1 - w0) * (a0 + a1) / 2).sum(axis=1)
    execution = ((a1 - a0) * (w0 + w1) / 2).sum(axis=1)
    gain = rates["tuned"] - rates["base"]
    return Split(gain=gain, routing=routing, execution=execution, unattributed=gain - routing - execution)
