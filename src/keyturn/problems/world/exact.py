"""Quantities that can be computed and not only estimated: listed completions and guess rates.

If all valid completions are known (CHAIN has exactly one per problem), a base's success probability is a sum.
If some are left out, which each list states, the sum is a certified lower bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.problems.world.contract import ValidCompletions, World


def valid_completions(world: World, problem: Problem, *, cap: int = 256) -> ValidCompletions:
    """The verified completions of a problem, as far as they can be listed.

    Args:
        world: the world whose strategies and formats are listed.
        problem: a problem of that world.
        cap: maximum number of completions; those in the canonical order come first.

    Raises:
        UsageError: there are too many to list (GRAPH beyond three operations).
    """
    return world.valid_completions(problem, cap=cap)


def guess_rates(problems: Sequence[Problem]) -> NDArray[np.float64]:
    """How often another problem's answer is right for each problem, ``[problem]``.

    Answers are permuted within their type, which is the cell. The rate is the share of the cell's *other*
    problems with the same answer, and NaN for a cell with one problem.
    """
    cells = [tuple(sorted(problem.cell.items())) for problem in problems]
    sizes = Counter(cells)
    same = Counter((cell, problem.answer) for cell, problem in zip(cells, problems, strict=True))
    return np.array(
        [
            (same[cell, problem.answer] - 1) / (sizes[cell] - 1) if sizes[cell] > 1 else np.nan
            for cell, problem in zip(cells, problems, strict=True)
        ]
    )
