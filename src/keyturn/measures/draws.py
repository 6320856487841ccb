"""Successes among draws, per problem: the table from which every answer-based measure is computed.

An audit draws from the base in two stages: a first number of draws for every problem, the rest only where few
of them succeeded. How often a problem was drawn then depends on what was drawn, and the pooled rate is too
high, by up to .03 near p = .25: as much as the whole margin of ``no change``. :class:`Draws` therefore carries
the rule (``Answers.two_stages``) and uses the unbiased estimate (``core.statistics.two_stage``). Where nobody
states a rule, as in a sample file, the number of draws counts as fixed in advance.

Source: Girshick, Mosteller and Savage 1946, through ``core.statistics.two_stage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.statistics.pass_at_k import pass_at_each_k, pass_at_k, posterior_pass_at_k
from keyturn.core.statistics.two_stage import pass_at_k_after_going_on, rate_after_going_on
from keyturn.rollouts.grades import Answers

FIRST_STAGE = 32
"""Draws that an audit makes of every problem (docs/verdict.md)."""

ENOUGH = 8
"""Successes among them that end the drawing: at 8 of 32 the base surely reaches the problem at any K >= 8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Graded draws and successes per problem, and what is known of how many were drawn.

    Args:
        n: graded draws, int64 ``[problem]``.
        c: successes among them, int64 ``[problem]``.
        first_n: graded draws of the first stage (all of them where there is one stage), int64 ``[problem]``.
        first_c: successes among those, int64 ``[problem]``.
        went_on: the second stage was drawn, because too few succeeded, bool ``[problem]``.
        enough: successes of the first stage that ended the drawing; 0 where there is one stage.
        decided: whether it was *this* kind of success that decided about the second stage.
    """

    n: NDArray[np.int64]
    c: NDArray[np.int64]
    first_n: NDArray[np.int64]
    first_c: NDArray[np.int64]
    went_on: NDArray[np.bool_]
    enough: int = 0
    decided: bool = True

    def __len__(self) -> int:
        return len(self.n)

    @property
    def staged(self) -> bool:
        """Whether the draws follow the two-stage rule."""
        return self.enough > 0

    @property
    def rate(self) -> NDArray[np.float64]:
        """Unbiased success rate, float64 ``[problem]``; NaN where nothing was graded."""
        return self.pass_at_k(1)[0]

    def pass_at_k(self, k: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """:meth:`curve` at one budget: float64 ``[problem]`` and bool ``[problem]``."""
        values, beyond = self.curve((k,))
        return values[:, 0], beyond[:, 0]

    def curve(self, ks: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """pass@k per problem, and where it comes from the posterior because the problem has fewer draws.

        Args:
            ks: budgets, 1 or more each.

        Returns:
            float64 ``[problem, k]`` (NaN where nothing was graded) and bool ``[problem, k]``.
        """
        budgets = np.asarray(ks, dtype=np.int64)
        values = pass_at_each_k(self.n, self.c, ks)
        graded = self.n > 0
        beyond = graded[:, None] & (self.n[:, None] < budgets)
        for column, k in enumerate(ks):
            corrected = self.went_on & (self.first_n >= k) & (self.n >= k)
            if corrected.any():
                values[corrected, column] = self._first_stage_pass_at_k(corrected, int(k))
        # Whoever stopped with enough successes solves it within any more draws: the posterior's missing
        # thousandth would be the same sign on every such problem, and a difference of curves would take it for
        # sure.
        sure = beyond & (self.staged & ~self.went_on)[:, None]
        values[sure] = 1.0
        rows, columns = np.nonzero(beyond & ~sure)
        values[rows, columns] = posterior_pass_at_k(self.n[rows], self.c[rows], budgets[columns])
        return values, beyond

    def _first_stage_pass_at_k(self, chosen: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
        """Unbiased for ``k <= first_n``: from all draws where they decided, else from the first stage alone."""
        first = self.first_n[chosen]
        if not self.decided:
            return pass_at_k(first, self.first_c[chosen], k)
        counts = (first, self.n[chosen], self.c[chosen], self.enough)
        return rate_after_going_on(*counts) if k == 1 else pass_at_k_after_going_on(*counts, k)

    def at(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Draws:
        """The draws of some problems."""
        return Draws(
            n=self.n[index],
            c=self.c[index],
            first_n=self.first_n[index],
            first_c=self.first_c[index],
            went_on=self.went_on[index],
            enough=self.enough,
            decided=self.decided,
        )

    def typical(self, chosen: NDArray[np.bool_] | None = None) -> int:
        """The draws that nine of ten problems have (0 where there is no problem)."""
        counts = self.n[self.n > 0] if chosen is None else self.n[(self.n > 0) & chosen]
        return int(np.quantile(counts, 0.1, method="lower")) if counts.size else 0


def plain_draws(n: NDArray[np.integer], c: NDArray[np.integer]) -> Draws:
    """Draws whose number was fixed in advance."""
    draws, successes = np.asarray(n, dtype=np.int64), np.asarray(c, dtype=np.int64)
    return Draws(n=draws, c=successes, first_n=draws, first_c=successes, went_on=np.zeros(len(draws), bool))


def draws_of(answers: Answers, success: NDArray[np.float32] | None = None) -> Draws:
    """Count the draws and successes of one policy.

    Args:
        answers: graded draws; ``answers.two_stages`` says whether they were drawn in two stages.
        success: the column that counts as success, ``[row]``; ``answers.success`` by default.
    """
    n, c = answers.counts(success)
    stages = answers.two_stages
    if stages is None:
        return plain_draws(n, c)
    early = answers.draw < stages.first
    first_n, first_c = answers.select(early).counts(None if success is None else success[early])
    decided = success is None or bool(np.array_equal(success, answers.success, equal_nan=True))
    return Draws(
        n=n,
        c=c,
        first_n=first_n,
        first_c=first_c,
        went_on=stages.went_on,
        enough=stages.enough,
        decided=decided,
    )


def first_stage(answers: Answers) -> Answers:
    """The draws that were made whatever they turned out to be: all of them, or the first of two stages.

    For quantities that have no estimate which corrects for the second stage (lengths, answers).
    """
    return answers if answers.two_stages is None else answers.select(answers.draw < answers.two_stages.first)


def halves(answers: Answers, generator: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of two random halves of every problem's draws (an odd draw goes to neither side twice)."""
    key = generator.random(len(answers))
    order = np.lexsort((key, answers.problem))
    sizes = np.bincount(answers.problem, minlength=len(answers.problems))
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(answers), dtype=np.int64)
    rank[order] = np.arange(len(answers)) - np.repeat(starts, sizes)
    half = sizes[answers.problem] // 2
    return rank < half, (rank >= half) & (rank < 2 * half)
