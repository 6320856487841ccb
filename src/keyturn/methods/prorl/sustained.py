"""Diminish, plateau or sustained: the effect of prolonged training on each cell at a large number of draws.

Per cell, with ``P`` the mean over its problems of pass@k (unbiased, from each problem's own draws)::

    first = P(middle) - P(base)      second = P(final) - P(middle)      one = pass@1(final) - pass@1(base)
    diminish    one > 0 and first + second is not above 0
    sustained   second > 0
    plateau     first > 0 and second is 0 up to the margin
    undecided   else

``> 0``: the lower end of the interval is above 0; not above 0: the upper end is at most ``margin``; 0 up to the
margin: the whole interval within ``+- margin``. Intervals are paired bootstraps over the problems of the cell.
The first line that holds is the label.
Denominator: problems of the cell. Degenerate: fewer than two problems, or fewer than k draws of one, is an
error.
Known bias: a cell whose base solves everything within k draws cannot be anything but diminish: its ceiling is
reached. Draws at one temperature can make a diverse policy look worse: sweep the base's.
Source: the three classes of ProRL (Liu et al. 2025, 2505.24864, section 4.2), which names them by eye; the rule
is ours, and so are the margin and the condition on pass@1 of "diminish" (without it a policy that never changed
and solves everything would be one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.core.streams import Streams
from keyturn.rollouts.grades import Answers
from keyturn.training.curves import cell_keys

Label: TypeAlias = Literal["diminish", "plateau", "sustained", "undecided"]

MARGIN = 0.03
"""What counts as no change of pass@k: the audit's own margin for a gain."""


@dataclass(frozen=True, kw_only=True)
class CellClass:
    """One cell's class and the numbers behind it.

    Args:
        cell: its name.
        label: its class.
        problems: number of problems.
        base: pass@k of the base.
        first: middle minus base.
        second: final minus middle.
        whole: final minus base.
        one: the same at one draw.
    """

    cell: str
    label: Label
    problems: int
    base: Estimate
    first: Estimate
    second: Estimate
    whole: Estimate
    one: Estimate


def classify(
    base: Answers,
    middle: Answers,
    final: Answers,
    streams: Streams,
    *,
    k: int = 128,
    margin: float = MARGIN,
) -> tuple[CellClass, ...]:
    """The class of every cell, in the order of their names.

    Args:
        base: graded draws before training.
        middle: of an intermediate policy, on the same problems in the same order.
        final: of the final policy.
        streams: for the bootstrap.
        k: large number of draws; a problem with fewer graded ones is left out.
        margin: what counts as no change.

    Raises:
        InputError: the policies answered other problems.
    """
    ids = [problem.id for problem in base.problems]
    if any([problem.id for problem in other.problems] != ids for other in (middle, final)):
        raise InputError("the three policies answered different problems", fix="draw from the same problems")
    curves = {
        name: pass_curves(given, k) for name, given in (("base", base), ("middle", middle), ("final", final))
    }
    found = []
    for cell, rows in _cells(base).items():
        found.append(_class(cell, {name: one[:, rows] for name, one in curves.items()}, streams, margin))
    return tuple(found)


def label_of(one: Estimate, first: Estimate, second: Estimate, whole: Estimate, margin: float) -> Label:
    """The rule of the file's docstring on intervals."""
    if one.low > 0 and whole.high <= margin:
        return "diminish"
    if second.low > 0:
        return "sustained"
    if first.low > 0 and second.low >= -margin and second.high <= margin:
        return "plateau"
    return "undecided"


def _class(cell: str, curves: Mapping[str, NDArray[np.float64]], streams: Streams, margin: float) -> CellClass:
    at_one = {name: curve[0] for name, curve in curves.items()}
    at_k = {name: curve[1] for name, curve in curves.items()}

    def over(values: NDArray[np.float64], name: str) -> Estimate:
        return bootstrap_mean(values, streams.generator("classes", cell, name))

    one = over(at_one["final"] - at_one["base"], "one")
    first = over(at_k["middle"] - at_k["base"], "first")
    second = over(at_k["final"] - at_k["middle"], "second")
    whole = over(at_k["final"] - at_k["base"], "whole")
    return CellClass(
        cell=cell,
        label=label_of(one, first, second, whole, margin),
        problems=int(np.isfinite(at_k["final"] + at_k["middle"] + at_k["base"]).sum()),
        base=over(at_k["base"], "base"),
        first=first,
        second=second,
        whole=whole,
        one=one,
    )


def pass_curves(given: Answers, k: int) -> NDArray[np.float64]:
    """pass@1 and pass@k of every problem, float64 ``[2, problem]``; NaN where fewer than k draws were
    graded."""
    n, c = given.counts()
    enough = n >= max(k, 1)
    n, c = np.where(enough, n, k), np.where(enough, c, 0)
    return np.where(enough, np.stack([pass_at_k(n, c, 1), pass_at_k(n, c, k)]), np.nan)


def _cells(given: Answers) -> dict[str, NDArray[np.int64]]:
    keys = cell_keys(given.problems)
    names = np.array(
        [", ".join(f"{key} {p.cell[key]}" for key in keys if key in p.cell) or "all" for p in given.problems]
    )
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
