"""What a verdict is judged on: draws of both policies, and what else is known of each problem.

Source: ours (docs/verdict.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.errors import InputError
from keyturn.measures.draws import Draws, check_same_problems, draws_of
from keyturn.rollouts.grades import Answers


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What one verdict is judged on; arrays are ``[problem]``.

    Args:
        base, tuned: draws of the same problems.
        bound: certified lower bound of base success, NaN unknown.
        exact: exact base success, NaN unknown; compared with, never used.
        guess: rate at which the answer is guessed, NaN unknown; None where traces are read.
        floor: rate at which a valid trace is hit by chance, NaN unknown; stated and compared with, never used.
        elicited: solved for the base by an elicitation without teacher.
        clusters: a label per problem; clusters are resampled whole.
        unit: ``"verified"`` or ``"answer"``.
    """

    base: Draws
    tuned: Draws
    bound: NDArray[np.float64] | None = None
    exact: NDArray[np.float64] | None = None
    guess: NDArray[np.float64] | None = None
    floor: NDArray[np.float64] | None = None
    elicited: NDArray[np.bool_] | None = None
    clusters: NDArray | None = None
    unit: str = "verified"

    def at(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Evidence:
        """The evidence on some problems."""
        optional = {
            name: None if (column := getattr(self, name)) is None else column[index]
            for name in ("bound", "exact", "guess", "floor", "elicited", "clusters")
        }
        return Evidence(base=self.base.at(index), tuned=self.tuned.at(index), unit=self.unit, **optional)


def gather(
    base: Answers,
    tuned: Answers,
    *,
    bound: ArrayLike | None = None,
    exact: ArrayLike | None = None,
    guess: ArrayLike | None = None,
    floor: ArrayLike | None = None,
    elicited: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
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
        guess=None if traces else column("guess", guess),
        floor=column("floor", floor) if traces else None,
        elicited=column("elicited", elicited, bool),
        clusters=column("clusters", clusters, None),
        unit="verified" if traces else "answer",
    )
