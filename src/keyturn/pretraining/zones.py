"""Zones of competence: which cells a base masters, which are its edge, which it cannot reach.

Per cell ``pass@k = mean over problems of 1 - C(n - c, k) / C(n, k)`` from n draws with c successes, at
``k = 1`` and ``k = 64``. *mastered*: pass@1 >= .9; *edge*: pass@1 < .4 and pass@64 >= .3; *out of reach*:
pass@64 < .05; *between*: everything else.
Denominator: the problems of the cell. Degenerate: a cell whose problems have fewer than k draws has no
pass@k (NaN) and no zone beyond what pass@1 says.
Known bias: none in pass@k; the zone is a threshold on an estimate, so cells near a limit change zone
from seed to seed.
Source: Zhang, Neubig, Yue 2025 (arXiv:2512.07783), edge of competence. The thresholds are ours
(docs/world.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keyturn.core.measurement import json_number
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.rollouts.grades import Answers

MASTERED = 0.9
EDGE_PASS_1 = 0.4
EDGE_PASS_K = 0.3
OUT_OF_REACH = 0.05


@dataclass(frozen=True, kw_only=True)
class Zone:
    """One cell of a base.

    Args:
        cell: what tells the cell apart.
        problems: how many there were.
        draws: per problem, the smallest number among them.
        k: the budget of ``pass_at_k``.
        pass_at_1: mean success per draw.
        pass_at_k: share of problems solved within ``k`` draws, NaN with fewer draws.
        answer_at_1: mean of right answers whatever the trace.
        zone: ``mastered``, ``edge``, ``between`` or ``out of reach``.
    """

    cell: Mapping[str, str | int]
    problems: int
    draws: int
    k: int
    pass_at_1: float
    pass_at_k: float
    answer_at_1: float
    zone: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able; undefined is null."""
        return {
            name: json_number(value) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def zone_of(pass_at_1: float, pass_at_large_k: float) -> str:
    """The zone of a cell from its two pass rates; a NaN meets no condition."""
    if pass_at_1 >= MASTERED:
        return "mastered"
    if pass_at_large_k < OUT_OF_REACH:
        return "out of reach"
    if pass_at_1 < EDGE_PASS_1 and pass_at_large_k >= EDGE_PASS_K:
        return "edge"
    return "between"


def measure_zones(answers: Answers, *, by: tuple[str, ...], k: int = 64) -> tuple[Zone, ...]:
    """Zones of all cells, in the order in which the cells first occur.

    Args:
        answers: graded draws of the base.
        by: keys of ``Problem.cell`` that make a cell.
        k: budget of the larger pass@k.
    """
    n, c = answers.counts()
    n_answer, c_answer = answers.counts(answers.outcome)
    keys = [tuple((name, problem.cell[name]) for name in by) for problem in answers.problems]
    zones = []
    for key in dict.fromkeys(keys):
        here = np.array([other == key for other in keys]) & (n > 0)
        if not here.any():
            continue
        draws = int(n[here].min())
        one = float(pass_at_k(n[here], c[here], 1).mean())
        many = float(pass_at_k(n[here], c[here], k).mean()) if draws >= k else math.nan
        zones.append(
            Zone(
                cell=dict(key),
                problems=int(here.sum()),
                draws=draws,
                k=k,
                pass_at_1=one,
                pass_at_k=many,
                answer_at_1=float(np.mean(c_answer[here] / np.maximum(n_answer[here], 1))),
                zone=zone_of(one, many),
            )
        )
    return tuple(zones)
