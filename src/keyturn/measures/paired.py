"""Both policies' graded draws of the same problems, beside everything else that is known of each problem.

:class:`Paired` is built once for an audit, and every measure reads it. A verdict needs only counts:
:class:`PairedCounts` holds the draws and successes per problem under one kind of success, ``"verified"`` (the
answer is right and a verifier accepts the trace) or ``"answer"`` (the answer is right).

Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Parameter
from keyturn.core.problem import Problem
from keyturn.measures.cells import cells_of, places
from keyturn.measures.draws import Draws, draws_of
from keyturn.rollouts.grades import Answers

_KNOWN = {
    "exact": np.float64,
    "bound": np.float64,
    "guess": np.float64,
    "chance": np.float64,
    "floor": np.float64,
    "elicited": np.bool_,
}
"""What may be known of a problem beside its draws, and the type of the column."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedCounts:
    """Draws and successes of both policies, counted by one kind of success; arrays are ``[problem]``.

    Args:
        base, tuned: draws of the same problems.
        bound: certified lower bound of the base's success probability, NaN where unknown.
        exact: the base's exact success probability, NaN where unknown; the verdict is compared with it and
            never uses it.
        chance: rate at which luck alone succeeds, known or measured, NaN where unknown (file ``chance``).
        floor: upper bound of that rate, NaN where unknown; it is reported and never used.
        elicited: the base solves the problem under an elicitation that shows it neither a teacher's text nor
            the answer.
        clusters: a label for each problem; the bootstrap resamples whole clusters.
        cells: the number of each problem's cell; whole cells are tested against chance.
        base_cut, tuned_cut: share of the draws that were cut at the length limit; None where nobody said.
        base_lenient, tuned_lenient: success rate under lenient extraction of the answer, NaN where nothing was
            graded; None where traces are read (a right answer over a wrong trace is no matter of format).
        base_failed, tuned_failed: share of the draws that have no verdict.
        kind: ``"verified"`` or ``"answer"``.
    """

    base: Draws
    tuned: Draws
    bound: NDArray[np.float64] | None = None
    exact: NDArray[np.float64] | None = None
    chance: NDArray[np.float64] | None = None
    floor: NDArray[np.float64] | None = None
    elicited: NDArray[np.bool_] | None = None
    clusters: NDArray | None = None
    cells: NDArray[np.int64] | None = None
    base_cut: NDArray[np.float64] | None = None
    tuned_cut: NDArray[np.float64] | None = None
    base_lenient: NDArray[np.float64] | None = None
    tuned_lenient: NDArray[np.float64] | None = None
    base_failed: NDArray[np.float64] | None = None
    tuned_failed: NDArray[np.float64] | None = None
    kind: str = "verified"

    def at(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> PairedCounts:
        """The counts of some problems."""
        columns = {
            field.name: value[index]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return PairedCounts(base=self.base.at(index), tuned=self.tuned.at(index), kind=self.kind, **columns)

    @property
    def graded(self) -> NDArray[np.bool_]:
        """Problems that have a graded draw of both policies, bool ``[problem]``."""
        return (self.base.n > 0) & (self.tuned.n > 0)

    @property
    def units(self) -> int:
        """How many units the bootstrap resamples: problems, or clusters of them."""
        return len(self.base) if self.clusters is None else len(np.unique(self.clusters))


@dataclass(frozen=True, kw_only=True, eq=False)
class Paired:
    """Graded draws of base and tuned policy on the same problems, and what else is known of each problem.

    The columns below are ``[problem]``; a column that nobody knows is None, an unknown entry NaN.

    Args:
        base, tuned: graded draws of the same problems in the same order.
        exact: exact success probability of the base, float64.
        bound: certified lower bound of the base's success probability, float64.
        guess: rate at which the answer is guessed without reading the problem, float64; used where answers
            alone count as success.
        chance: rate at which luck hits a valid trace, known exactly or measured, float64; used where traces
            are read.
        floor: upper bound of that rate, float64; it is reported and never used.
        elicited: the base solves the problem under an elicitation that shows it neither a teacher's text nor
            the answer, bool.

    Raises:
        InputError: the policies answered different problems, or a column does not have one entry per problem.
    """

    base: Answers
    tuned: Answers
    exact: NDArray[np.float64] | None = None
    bound: NDArray[np.float64] | None = None
    guess: NDArray[np.float64] | None = None
    chance: NDArray[np.float64] | None = None
    floor: NDArray[np.float64] | None = None
    elicited: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if [p.id for p in self.base.problems] != [p.id for p in self.tuned.problems]:
            raise InputError(
                f"{self.base.policy} and {self.tuned.policy} answered different lists of problems",
                fix="give both the same problems in the same order",
            )
        for name, kind in _KNOWN.items():
            column = self._column(name, getattr(self, name), kind)
            object.__setattr__(self, name, column)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems, in the order of every column."""
        return self.base.problems

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of success by which both policies were judged; the first is the one that a verdict takes.

        ``"verified"`` where a verifier read the traces of both, and ``"answer"``.
        """
        return tuple(self._draws)

    def places(self, by: Sequence[str] = ()) -> list[tuple[dict[str, Parameter], NDArray[np.int64]]]:
        """All problems, then each cell: the parameters of a measurement there, and the indices of its problems.

        Args:
            by: fields of ``Problem.cell`` that make a cell.
        """
        return places(self.problems, by)

    def by_place(self, by: Sequence[str] = ()) -> Iterator[tuple[dict[str, Parameter], PairedCounts]]:
        """The counts in each of :meth:`places`, once for every kind of success."""
        for where, index in self.places(by):
            for kind in self.kinds:
                yield where, self.counts(kind).at(index)

    def counts(
        self, kind: str = "", *, cell_keys: Sequence[str] = (), clusters: ArrayLike | None = None
    ) -> PairedCounts:
        """Draws and successes of all problems, ready to be judged.

        Args:
            kind: one of :attr:`kinds`; the first by default.
            cell_keys: fields of ``Problem.cell``; whole cells are tested against chance.
            clusters: a label for each problem (its base, its template); the bootstrap resamples whole clusters.

        Raises:
            InputError: ``clusters`` does not have one entry per problem.
        """
        kind = kind or self.kinds[0]
        base, tuned = self._draws[kind]
        traces = kind == "verified"
        return PairedCounts(
            base=base,
            tuned=tuned,
            bound=self.bound,
            exact=self.exact,
            chance=self.chance if traces else self.guess,
            floor=self.floor if traces else None,
            elicited=self.elicited,
            clusters=self._column("clusters", clusters, None),
            cells=self._cells(cell_keys),
            base_failed=_failed(self.base),
            tuned_failed=_failed(self.tuned),
            base_cut=_cut(self.base),
            tuned_cut=_cut(self.tuned),
            base_lenient=None if traces else _lenient(self.base),
            tuned_lenient=None if traces else _lenient(self.tuned),
            kind=kind,
        )

    def at(self, index: NDArray[np.int64]) -> Paired:
        """Some of the problems, in the order of ``index``."""
        known = {name: getattr(self, name) for name in _KNOWN}
        return Paired(
            base=self.base.of_problems(index),
            tuned=self.tuned.of_problems(index),
            **{name: None if column is None else column[index] for name, column in known.items()},
        )

    @cached_property
    def _draws(self) -> Mapping[str, tuple[Draws, Draws]]:
        """Counted draws of both policies by kind of success."""
        base, tuned = _successes(self.base), _successes(self.tuned)
        return {
            kind: (draws_of(self.base, column), draws_of(self.tuned, tuned[kind]))
            for kind, column in base.items()
            if kind in tuned
        }

    def _column(self, name: str, values: ArrayLike | None, kind: type | None) -> NDArray | None:
        if values is None:
            return None
        array = np.asarray(values) if kind is None else np.asarray(values, dtype=kind)
        count = len(self.problems)
        if array.shape != (count,):
            what = f"{name} has shape {array.shape} for {count} problems"
            raise InputError(what, fix="give one entry per problem")
        return array

    def _cells(self, keys: Sequence[str]) -> NDArray[np.int64] | None:
        """The number of each problem's cell; the problems that are in no cell share one more number."""
        if not keys:
            return None
        cells = cells_of(self.problems, keys)
        number = np.full(len(self.problems), len(cells), dtype=np.int64)
        for i, (_, index) in enumerate(cells):
            number[index] = i
        return number


def _successes(answers: Answers) -> Mapping[str, NDArray[np.float32]]:
    """Kind of success -> its column, ``[row]``."""
    kinds = {"verified": answers.verified} if answers.reads_traces else {}
    return {**kinds, "answer": answers.outcome}


def _failed(answers: Answers) -> NDArray[np.float64]:
    """Share of each problem's draws that nobody graded, NaN without a draw."""
    return answers.rates(np.isnan(answers.outcome).astype(np.float32))


def _cut(answers: Answers) -> NDArray[np.float64] | None:
    """Share of each problem's draws that were cut at the limit, NaN without a draw; None where nobody said."""
    return None if not answers.cuts_known else answers.rates(answers.truncated.astype(np.float32))


def _lenient(answers: Answers) -> NDArray[np.float64] | None:
    """Success rate of each problem under lenient extraction; None where the grader has no such reading."""
    column = answers.columns.get("lenient")
    return None if column is None else answers.rates(np.asarray(column, dtype=np.float32))
