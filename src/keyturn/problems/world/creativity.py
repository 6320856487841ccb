"""How creative a sample of constructions is, without a judge: everything is a count over canonical forms.

Per problem, of G completions with forms ``c_1..c_G`` ("" where not valid): ``diversity = |{c_i}| / G``,
``novelty = share of the valid ones that are new``, ``creativity = |{c_i new}| / G`` (valid, unique and new),
``coverage = |{c_i}| / N`` with N the number of all right answers of the problem.
Denominator: draws of the problem, valid draws for novelty, right answers for coverage.
Degenerate: no valid draw leaves novelty undefined (NaN); no draw at all everything.
Known bias: diversity and coverage grow or fall with G; compare at equal G only.
Source: Nagarajan et al. 2025 (arXiv:2504.15266): creative is what is coherent, unique and not in training.
Departure: coverage, which their tasks cannot have for want of N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.problem import Problem


class Creativity(NamedTuple):
    """One problem's figures."""

    draws: int
    valid: int
    distinct: int
    total: int
    diversity: float
    novelty: float
    creativity: float
    coverage: float


def creativity(problem: Problem, constructions: Sequence[str], novel: Sequence[float]) -> Creativity:
    """The figures of one problem.

    Args:
        problem: of a CREATE world; its facts hold the number of right answers.
        constructions: column ``canonical`` of its rows.
        novel: column ``novel`` of the same rows.
    """
    draws = len(constructions)
    new = [is_new == 1 for form, is_new in zip(constructions, novel, strict=True) if form]
    distinct = set(filter(None, constructions))
    fresh = {form for form, is_new in zip(constructions, novel, strict=True) if form and is_new == 1}
    total = int(problem.facts["constructions"])
    return Creativity(
        draws=draws,
        valid=len(new),
        distinct=len(distinct),
        total=total,
        diversity=len(distinct) / draws if draws else math.nan,
        novelty=sum(new) / len(new) if new else math.nan,
        creativity=len(fresh) / draws if draws else math.nan,
        coverage=len(distinct) / total if draws else math.nan,
    )
