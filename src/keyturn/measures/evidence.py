"""What a verdict is judged on: draws of both policies, and what else is known of each problem.

Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.errors import InputError
from keyturn.measures.cells import cells_of
from keyturn.measures.draws import Draws, check_same_problems, draws_of
from keyturn.rollouts.grades import Answers


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What one verdict is judged on; arrays are ``[problem]``.

    Args:
        base, tuned: draws of the same problems.
        bound: certified lower bound of base success, NaN unknown.
        exact: exact base success, NaN unknown; compared with, never used.
        chance: rate at which a success is hit by luck, known or measured, NaN unknown (file ``chance``).
        floor: upper bound of that rate, NaN unknown; stated and compared with, never used.
        elicited: solved for the base by an elicitation without teacher.
        clusters: a label per problem; clusters are resampled whole.
        cells: number of a problem's cell; whole cells are tested against chance.
        base_cut, tuned_cut: share of the draws that were cut at the length limit.
        base_lenient, tuned_lenient: success under lenient extraction, NaN where nothing was graded; None where
            traces are read: there an answer may be right and its trace not, which says nothing of the format.
        base_failed, tuned_failed: share of the draws that have no verdict.
        unit: ``"verified"`` or ``"answer"``.
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
    unit: str = "verified"

    def at(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Evidence:
        """The evidence on some problems."""
        columns = {
            field.name: value[index]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return Evidence(base=self.base.at(index), tuned=self.tuned.at(index), unit=self.unit, **columns)

    @property
    def units(self) -> int:
        """What is resampled: problems, or clusters of them."""
        return len(self.base) if self.clusters is None else len(np.unique(self.clusters))


def gather(
    base: Answers,
    tuned: Answers,
    *,
    bound: ArrayLike | None = None,
    exact: ArrayLike | None = None,
    guess: ArrayLike | None = None,
    chance: ArrayLike | None = None,
    floor: ArrayLike | None = None,
    elicited: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    cell_keys: Sequence[str] = (),
    answers_only: bool = False,
) -> Evidence:
    """Count draws and check columns; arguments as for :func:`keyturn.measures.deployed_created.judge`."""
    check_same_problems(base, tuned)
    problems = len(base.problems)

    def column(name: str, values: ArrayLike | None, kind: type | None = np.float64) -> NDArray | None:
        if values is None:
            return None
        array = np.asarray(values) if kind is None else np.asarray(values, dtype=kind)
        if array.shape != (problems,):
            raise InputError(
                f"{name} has shape {array.shape} for {problems} problems", fix="give one entry a problem"
            )
        return array

    traces = base.reads_traces and tuned.reads_traces and not answers_only
    kinds = [(a, a.verified if traces else a.outcome) for a in (base, tuned)]
    return Evidence(
        base=draws_of(*kinds[0]),
        tuned=draws_of(*kinds[1]),
        bound=column("bound", bound),
        exact=column("exact", exact),
        chance=column("chance", chance) if traces else column("guess", guess),
        floor=column("floor", floor) if traces else None,
        elicited=column("elicited", elicited, bool),
        clusters=column("clusters", clusters, None),
        cells=_cell_numbers(base, cell_keys),
        base_failed=_failed(base),
        tuned_failed=_failed(tuned),
        base_cut=_cut(base),
        tuned_cut=_cut(tuned),
        base_lenient=None if traces else _lenient(base),
        tuned_lenient=None if traces else _lenient(tuned),
        unit="verified" if traces else "answer",
    )


def _cell_numbers(answers: Answers, keys: Sequence[str]) -> NDArray[np.int64] | None:
    """The number of each problem's cell; problems in no cell are one more."""
    if not keys:
        return None
    cells = cells_of(answers.problems, keys)
    number = np.full(len(answers.problems), len(cells), dtype=np.int64)
    for i, (_, index) in enumerate(cells):
        number[index] = i
    return number


def _failed(answers: Answers) -> NDArray[np.float64]:
    """Share of each problem's draws that nobody graded, NaN without a draw."""
    return answers.rates(np.isnan(answers.outcome).astype(np.float32))


def _cut(answers: Answers) -> NDArray[np.float64] | None:
    """Share of each problem's draws that were cut at the limit, NaN without a draw; None where nobody said."""
    return None if not answers.cuts_known else answers.rates(answers.truncated.astype(np.float32))


def _lenient(answers: Answers) -> NDArray[np.float64] | None:
    """Success of each problem under lenient extraction; None where a grader has no such reading."""
    column = answers.columns.get("lenient")
    return None if column is None else answers.rates(np.asarray(column, dtype=np.float32))
