"""Cells of problems: the problems that share a domain, a depth, a context.

Ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Parameter
from keyturn.core.problem import Problem

CellKey = Mapping[str, str | int]


def cell_name(key: CellKey) -> str:
    """``depth 3``; ``context C2, depth 3``."""
    return ", ".join(f"{field} {value}" for field, value in key.items())


def cells_of(problems: Sequence[Problem], by: Sequence[str]) -> list[tuple[CellKey, NDArray[np.int64]]]:
    """The cells in order of their keys, with the indices of their problems. A problem that lacks a field
    is in no cell.

    Args:
        problems: in the order that indices refer to.
        by: fields of ``Problem.cell``; no field, no cells.

    Raises:
        UsageError: no problem has these fields.
    """
    if not by:
        return []
    groups: dict[tuple[str | int, ...], list[int]] = {}
    for index, problem in enumerate(problems):
        if all(field in problem.cell for field in by):
            groups.setdefault(tuple(problem.cell[field] for field in by), []).append(index)
    if problems and not groups:
        known = sorted({field for problem in problems for field in problem.cell})
        raise UsageError(
            f"no problem has the cell {', '.join(by)}",
            fix=f"fields known: {', '.join(known) or 'none'}",
        )
    ordered = sorted(groups.items(), key=lambda item: [(isinstance(v, str), v) for v in item[0]])
    return [(dict(zip(by, key, strict=True)), np.array(index)) for key, index in ordered]


def places(
    problems: Sequence[Problem], by: Sequence[str]
) -> list[tuple[dict[str, Parameter], NDArray[np.int64]]]:
    """All problems pooled, then each cell: parameters of a measurement there, and its problems."""
    cells: list[tuple[dict[str, Parameter], NDArray[np.int64]]] = [
        ({"cell": cell_name(key)}, index) for key, index in cells_of(problems, by)
    ]
    pooled: dict[str, Parameter] = {}
    return [(pooled, np.arange(len(problems))), *cells]
