"""Which problem is worth being the only one: ranking by the variance of its accuracy over training.

With ``s_i,e`` the accuracy of problem ``i`` the ``e``-th time that it was asked (``[problem, epoch]``, NaN
where it was asked less often), ``v_i = mean_e (s_i,e - mean_e s_i,e)^2`` over what is known; problems are
ranked by ``v`` descending, equal ones in their own order.
Denominator: epochs that the problem has. Degenerate: a problem that was never asked has no variance and comes
last; one that was asked once has variance 0.
Known bias: the variance of ``s_i,e`` holds the sampling noise ``p (1 - p) / draws`` of each epoch beside the
movement of ``p``: with few draws it prefers problems near one half, whether they moved or not.
Source: historical variance score, Wang et al. 2025 (2504.20571, section 2); their code ranks by ``np.std`` of
each problem's own list, which orders equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.rollouts.store import completion_parts, read_completions, read_grades

Selection: TypeAlias = Literal["top", "median", "bottom", "unsolvable", "random", "full", "format"]
"""``top``, ``median``, ``bottom`` of the ranking (``bottom`` among the problems that were ever solved),
``unsolvable``: never solved, ``random``: any; ``full``: the whole pool; ``format``: the whole pool, paid for
form."""

RANKED: frozenset[str] = frozenset({"top", "median", "bottom", "unsolvable"})
"""Selections that need a history."""


def variances(history: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of each problem's accuracy over its epochs, ``[problem]``; NaN where it was never asked.

    Args:
        history: ``[problem, epoch]``, NaN where unknown.
    """
    known = np.isfinite(history)
    count = known.sum(axis=1)
    values = np.where(known, history, 0.0)
    mean = values.sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (history - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return np.where(count > 0, squares / np.maximum(count, 1), np.nan)


def rank_by_variance(history: NDArray[np.float64]) -> NDArray[np.int64]:
    """Problems by descending variance, equal ones in their own order, unasked ones last; int64 ``[problem]``.

    Args:
        history: ``[problem, epoch]``, NaN where unknown.
    """
    spread = variances(np.asarray(history, dtype=np.float64))
    return np.argsort(np.where(np.isnan(spread), np.inf, -spread), kind="stable")


def padded_history(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Lists of different length as ``[problem, epoch]``, NaN behind their ends."""
    out = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return out


def history_of(rollouts: Path, problems: Sequence[Problem]) -> NDArray[np.float64]:
    """The accuracy history of a run that stored its rollouts, ``[problem, epoch]``.

    Args:
        rollouts: folder of the stored parts, one a step.
        problems: rows of the result, in this order.
    """
    place = {problem.id: index for index, problem in enumerate(problems)}
    seen: list[list[float]] = [[] for _ in problems]
    for part in completion_parts(rollouts):
        drawn, grades = read_completions(rollouts, [part]), read_grades(rollouts, [part])
        for number, name in enumerate(drawn.prompts.ids):
            right = grades.outcome[drawn.problem == number]
            right = right[np.isfinite(right)]
            if name in place and len(right):
                seen[place[name]].append(float(right.mean()))
    return padded_history(seen)


def chosen(
    how: Selection,
    problems: Sequence[Problem],
    history: NDArray[np.float64] | None,
    streams: Streams,
    *,
    examples: int = 1,
) -> tuple[Problem, ...]:
    """The problems that a selection takes from a pool.

    Args:
        how: see :data:`Selection`.
        problems: the pool.
        history: ``[problem, epoch]``, for the selections of :data:`RANKED`.
        streams: for ``random``.
        examples: how many; all of the pool for ``full`` and ``format``.

    Raises:
        UsageError: no history where one is needed.
        InputError: no problem of the kind that is asked for.
    """
    if how in ("full", "format"):
        return tuple(problems)
    if how == "random":
        picked = streams.generator("random problem").permutation(len(problems))
    elif history is None:
        raise UsageError(f"the selection {how!r} needs a history", fix="a warm-up with stored rollouts")
    else:
        picked = _ranked(how, history)
    if len(picked) < examples:
        raise InputError(
            f"the pool has {len(picked)} problems for {how!r}, but {examples} were asked for",
            fix="a larger pool, fewer examples, or a shorter warm-up",
        )
    return tuple(problems[int(index)] for index in picked[:examples])


def _ranked(how: str, history: NDArray[np.float64]) -> NDArray[np.int64]:
    order = rank_by_variance(history)
    best = np.max(history, axis=1, where=np.isfinite(history), initial=-1.0)
    order = order[best[order] >= 0]
    if how == "unsolvable":
        return order[best[order] == 0]
    if how == "bottom":
        return order[best[order] > 0][::-1]
    return order if how == "top" else order[len(order) // 2 :]


def copies_of(problems: Sequence[Problem], count: int) -> tuple[Problem, ...]:
    """Problems repeated in turn until there are ``count``, each copy under an id, hence streams, of its own."""
    return tuple(
        replace(problems[i % len(problems)], id=f"{problems[i % len(problems)].id}#{i // len(problems)}")
        for i in range(count)
    )
