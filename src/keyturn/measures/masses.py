"""The gain of each problem, divided by whether the base reached the problem, did not, or left it undecided.

For each problem i, with tuned success ``q_i`` and base success ``p_i``, and its class R (reachable), N
(unreachable), U (undecided) or A (at chance):

    D = mean (q_i - p_i) 1[R],  C = mean (q_i - p_i) 1[N],  U = ... 1[U],  A = ... 1[A],   D + C + U + A = gain

The base's draws are cut at random into three parts. Each part in turn estimates p while the *other two*
classify, so that no draw does both. A part weighs by its number of draws, so that every draw estimates once,
and the estimates of the parts add up to the rate of all draws. Two thirds classify because that is what ``K =
N / 3`` needs: 2K draws without success are just enough to say "unreachable at K". The cut is repeated
``SPLITS`` times and averaged, so that a verdict does not depend on one lucky cut.

Gross gain and gross loss, ``mean max(q - p, 0)`` and ``mean max(p - q, 0)``, would be positive by noise alone.
So the sign is read on two thirds of the draws of both policies, and the size on the remaining third. The two
still differ by exactly the gain, and both are 0 on average where nothing changed. A sign that is read wrongly
is subtracted from both, so a mean can fall below 0; it is then shown as 0 (:func:`gross_masses`).

Denominator: the problems. Degenerate: with a single draw nothing is left to classify with, so the problem is
undecided. Known bias: none in D, C, U, A for the classes as drawn. A certified lower bound comes from the
tuned policy's own verified draws, so where it alone decides, the reachable problems are the lucky ones (the
class itself is right). Gross gain and loss are too small where signs are hard to read. For draws in two stages
the estimates are shifted to the unbiased rate (``draws``); the shift depends on all draws but is nil (below
1e-6) wherever the class is in doubt. Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.measures.chance import cells_at_chance, more_than_luck
from keyturn.measures.classes import classify
from keyturn.measures.draws import Draws
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED, UNREACHABLE

PARTS = 3
"""Parts that the draws are cut into; all but one of them classify."""

CLASSES = (REACHABLE, UNREACHABLE, UNDECIDED, AT_CHANCE)
"""In the order of :attr:`Masses.membership`."""

SPLITS = 8
"""Random cuts that are averaged: with more, no mass changes by more than .001 at 24 problems."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Masses:
    """Each problem's contribution; means over problems are the masses. Budgets are the last axis.

    Args:
        base, tuned: estimated success, float64 ``[problem]``.
        gain: ``tuned - base``, ``[problem]``.
        deployed, created, undecided, at_chance: the gain by class, float64 ``[problem, k]``; they sum to
            ``gain``.
        beyond_luck: base success less what is mostly luck (``chance.more_than_luck``), where a problem was at
            chance, float64 ``[problem, k]``: surely below 0 in the mean, most of that success is luck.
        membership: share of the cuts in which a problem was reachable, unreachable, undecided and at chance,
            float64 ``[4, problem, k]``.
        gross_gain, gross_loss: ``[problem]``; their difference is ``gain``.
    """

    base: NDArray[np.float64]
    tuned: NDArray[np.float64]
    gain: NDArray[np.float64]
    deployed: NDArray[np.float64]
    created: NDArray[np.float64]
    undecided: NDArray[np.float64]
    at_chance: NDArray[np.float64]
    beyond_luck: NDArray[np.float64]
    membership: NDArray[np.float64]
    gross_gain: NDArray[np.float64]
    gross_loss: NDArray[np.float64]

    def classes(self, at: int) -> NDArray[np.int8]:
        """The class that a problem had in more than half of the cuts, else undecided; int8 ``[problem]``."""
        share = self.membership[:, :, at]
        names = np.array(CLASSES, dtype=np.int8)
        best = share.argmax(axis=0)
        return np.where(share.max(axis=0) > 0.5, names[best], np.int8(UNDECIDED)).astype(np.int8)


def divide_gain(
    base: Draws,
    tuned: Draws,
    ks: Sequence[int],
    generator: np.random.Generator,
    *,
    chance: NDArray[np.float64] | None = None,
    cells: NDArray[np.int64] | None = None,
    bound: NDArray[np.float64] | None = None,
    splits: int = SPLITS,
) -> Masses:
    """Divide the gain of every problem over the classes at every budget.

    Args:
        base: base draws, at least one per problem.
        tuned: tuned draws of the same problems, at least one per problem.
        ks: budgets.
        generator: randomness of the cuts.
        chance: rate of luck of each problem, NaN unknown, see :func:`keyturn.measures.classes.classify`.
        cells: number of a problem's cell, ``[problem]``, for the test of whole cells against chance.
        bound: certified lower bound of base success of each problem.
        splits: random cuts to average.
    """
    sizes = _part_sizes(base.n)
    parts = _cut(base.n, base.c, sizes, splits, generator)
    base_rate, tuned_rate = base.rate, tuned.rate
    classes = classify(
        base.c - parts,
        base.n - np.broadcast_to(sizes, parts.shape),
        ks,
        chance=chance,
        at_chance=cells_at_chance(base_rate, chance, cells),
        bound=bound,
    )
    share = sizes / base.n
    # Each part's share of the base's success, shifted from the pooled to the unbiased rate.
    success = parts / base.n + share * (base_rate - base.c / base.n)
    contribution = share * tuned_rate - success
    by_class = [classes == name for name in CLASSES]
    divided = [np.einsum("sfp,sfpk->pk", contribution, chosen) / splits for chosen in by_class]
    membership = [np.einsum("fp,sfpk->pk", share, chosen) / splits for chosen in by_class]
    mostly_luck = more_than_luck(np.zeros(len(base)) if chance is None else chance)
    beyond = np.einsum("sfp,sfpk->pk", success - share * mostly_luck, by_class[-1]) / splits
    gain = tuned_rate - base_rate
    gross_gain = _gross_gain(base, tuned, parts, sizes, success, generator)
    return Masses(
        base=base_rate,
        tuned=tuned_rate,
        gain=gain,
        deployed=divided[0],
        created=divided[1],
        undecided=divided[2],
        at_chance=divided[3],
        beyond_luck=beyond,
        membership=np.stack(membership),
        gross_gain=gross_gain,
        gross_loss=gross_gain - gain,
    )


def gross_masses(
    gain: NDArray[np.float64], gross_loss: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean gross gain and gross loss: neither is below 0, and they differ by the gain; arrays of one shape."""
    loss = np.maximum(gross_loss, np.maximum(-gain, 0.0))
    return gain + loss, loss


def _gross_gain(
    base: Draws,
    tuned: Draws,
    base_parts: NDArray[np.int64],
    base_sizes: NDArray[np.int64],
    base_success: NDArray[np.float64],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """Gain of the parts whose sign, read on the other parts, is positive; ``[problem]``."""
    splits = base_parts.shape[0]
    sizes = _part_sizes(tuned.n)
    parts = _cut(tuned.n, tuned.c, sizes, splits, generator)
    size_of_difference = parts / tuned.n + sizes / tuned.n * (tuned.rate - tuned.c / tuned.n) - base_success
    with np.errstate(divide="ignore", invalid="ignore"):
        sign = (tuned.c - parts) / (tuned.n - sizes) - (base.c - base_parts) / (base.n - base_sizes)
    # Ties, and problems with one draw, whose sign nothing else can tell, count half on either side.
    positive = np.where(np.isnan(sign), 0.5, np.heaviside(np.nan_to_num(sign), 0.5))
    return (size_of_difference * positive).sum(axis=1).mean(axis=0)


def _part_sizes(n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Draws of each part, as equal as can be, int64 ``[part, problem]``."""
    return n // PARTS + (np.arange(PARTS)[:, None] < n % PARTS)


def _cut(
    n: NDArray[np.int64],
    c: NDArray[np.int64],
    sizes: NDArray[np.int64],
    splits: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Successes in each part of random cuts, int64 ``[split, part, problem]``: counts are all that a cut at
    random of exchangeable draws leaves, so they are drawn from their (hypergeometric) law directly.
    """
    shape = (splits, len(n))
    left_c = np.broadcast_to(c, shape)
    left_n = np.broadcast_to(n, shape)
    parts = []
    for part in range(PARTS - 1):
        here = generator.hypergeometric(left_c, left_n - left_c, np.broadcast_to(sizes[part], shape))
        parts.append(here)
        left_c, left_n = left_c - here, left_n - sizes[part]
    return np.stack([*parts, left_c], axis=1).astype(np.int64)
