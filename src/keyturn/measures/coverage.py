"""Which problems are solved within k draws at all: gained, lost, and how much of that is luck.

For each problem, with pass@k ``s`` of the base and ``t`` of the tuned policy (both unbiased):

    gained E = mean t (1 - s),   lost S = mean s (1 - t),   E - S = tuned coverage - base coverage

Two samples of one and the same model also "gain" and "lose" problems. The replicate null is what two disjoint
halves of the base's own draws gain from each other, averaged over all ways to cut them. The average has a
closed form: ``E0 = S0 = mean of P(k draws miss, k others do not) = pass@2k - pass@k`` of the base. What
remains is the excess, ``E - E0`` or ``S - S0``. McNemar's exact test compares the sets of problems that the
first k draws of each policy solve (if the policies are equal, gained and lost are exchangeable).

Denominator: the problems. Degenerate: no problem gives NaN. Where k is beyond a problem's draws its value
comes from the posterior, and the share of such problems is stated. With fewer than 2k base draws there is no
null and no excess. Known bias: none for E, S and E0 with enough draws; the excess of losses is *negative*
where the tuned policy solves more, and the other way round.

Source: sets and null after Wu et al. 2025 (arXiv 2507.14843) and our replicate null (docs/verdict.md); McNemar
1947. Departure: expected instead of realised sets, so that the luck of one cut does not enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import RESAMPLES, bootstrap_mean
from keyturn.core.statistics.mcnemar import mcnemar_exact
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import Draws
from keyturn.rollouts.grades import Answers

REPLICATED = 0.9
"""Share of problems whose draws must allow the null; of the others it would show the prior, not the base."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solved:
    """Coverage columns, each float64 ``[problem]``.

    Args:
        base, tuned: pass@k.
        gained: solved by the tuned policy only.
        lost: solved by the base only.
        null: what a replicate of the base gains (and loses).
        extrapolated: some of these values come from a posterior, bool ``[problem]``.
        replicated: the base has the 2k draws that the null needs, or stopped early with enough successes,
            bool ``[problem]``.
    """

    base: NDArray[np.float64]
    tuned: NDArray[np.float64]
    gained: NDArray[np.float64]
    lost: NDArray[np.float64]
    null: NDArray[np.float64]
    extrapolated: NDArray[np.bool_]
    replicated: NDArray[np.bool_]


def solved_within(base: Draws, tuned: Draws, k: int) -> Solved:
    """Coverage of each problem within k draws, and its replicate null."""
    once, beyond_base = base.pass_at_k(k)
    twice, _ = base.pass_at_k(2 * k)
    other, beyond_tuned = tuned.pass_at_k(k)
    return Solved(
        base=once,
        tuned=other,
        gained=other * (1 - once),
        lost=once * (1 - other),
        null=twice - once,
        extrapolated=beyond_base | beyond_tuned,
        replicated=(base.n >= 2 * k) | (base.staged & ~base.went_on),
    )


def solved_sets(base: Answers, tuned: Answers, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Problems that the first k draws of each policy solve, bool ``[problem]`` each."""
    return _first_draws_solve(base, k), _first_draws_solve(tuned, k)


def _first_draws_solve(answers: Answers, k: int) -> NDArray[np.bool_]:
    order = np.lexsort((answers.draw, answers.problem))
    sizes = np.bincount(answers.problem, minlength=len(answers.problems))
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(answers), dtype=np.int64)
    rank[order] = np.arange(len(answers)) - np.repeat(starts, sizes)
    hit = (rank < k) & (answers.success > 0)
    return np.bincount(answers.problem[hit], minlength=len(answers.problems)) > 0


@dataclass(frozen=True, kw_only=True)
class CoverageConfig:
    """Options of the measure."""

    k: int = 64
    """Budget in draws; lowered to the tuned policy's draws where those are fewer. Default: the audit's K."""
    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def measure_coverage(tables: Tables, config: CoverageConfig) -> tuple[Measurement, ...]:
    """Coverage of both policies, problems gained and lost with their null and excess, and McNemar's p."""
    paired, streams = tables.paired, tables.streams.child("coverage")
    budget = max(1, min(config.k, paired.counts().tuned.typical()))
    found: list[Measurement] = []
    for where, counts in paired.by_place(config.by):
        both = counts.at(counts.graded)
        parameters: dict[str, Parameter] = {"k": budget, "success": counts.kind, **where}
        solved = solved_within(both.base, both.tuned, budget)
        found += _of_kind(solved, config, streams.child(str(where), counts.kind), parameters)
    in_base, in_tuned = solved_sets(paired.base, paired.tuned, budget)
    for where, index in paired.places(config.by):
        found.append(_mcnemar(in_base[index], in_tuned[index], budget, where))
    return tuple(found)


def _mcnemar(
    in_base: NDArray[np.bool_], in_tuned: NDArray[np.bool_], k: int, where: dict[str, Parameter]
) -> Measurement:
    lost, gained = int((in_base & ~in_tuned).sum()), int((in_tuned & ~in_base).sum())
    return Measurement(
        name="coverage_mcnemar",
        value=mcnemar_exact(lost, gained) if len(in_base) else float("nan"),
        n=len(in_base),
        unit="p-value",
        parameters={"k": k, "gained": gained, "lost": lost, **where},
        note="exact, on the sets that the first k draws of each policy solve",
    )


def _of_kind(
    solved: Solved, config: CoverageConfig, streams: Streams, parameters: dict[str, Parameter]
) -> list[Measurement]:
    def measured(name: str, values: NDArray[np.float64], null: Null | None, **extra: Parameter) -> Measurement:
        bounds = (-1.0, 1.0) if name.endswith("excess") else (0.0, 1.0)
        labels = [str(value) for value in extra.values()]
        estimate = bootstrap_mean(
            values, streams.generator(name, *labels), resamples=config.resamples, bounds=bounds
        )
        share = float(solved.extrapolated.mean()) if len(values) else float("nan")
        return Measurement(
            name=name,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=len(values),
            unit="share of problems",
            null=null,
            parameters={**extra, **parameters, "extrapolated": share},
        )

    policies = [measured("coverage", getattr(solved, name), None, policy=name) for name in ("base", "tuned")]
    if len(solved.base) and solved.replicated.mean() < REPLICATED:
        null = Null(kind="none possible: the base has fewer than 2k draws")
        moved = (("coverage_gained", solved.gained), ("coverage_lost", solved.lost))
        return [*policies, *(measured(name, values, null) for name, values in moved)]
    replicate = bootstrap_mean(
        solved.null, streams.generator("null"), resamples=config.resamples, bounds=(0.0, 1.0)
    )
    kind = "replicate of the base"
    null = Null(kind=kind, value=replicate.value, low=replicate.low, high=replicate.high)
    nothing = Null(kind=kind, value=0.0) if len(solved.base) else Null(kind=kind)
    return [
        *policies,
        measured("coverage_gained", solved.gained, null),
        measured("coverage_lost", solved.lost, null),
        measured("coverage_gained_excess", solved.gained - solved.null, nothing),
        measured("coverage_lost_excess", solved.lost - solved.null, nothing),
    ]


READINGS = {
    "coverage": "Share of problems that k draws solve, on average over all choices of the k draws.",
    "coverage_gained": "Share of problems that the tuned policy solves within k draws and the base does not.",
    "coverage_lost": "Share of problems that the base solves within k draws and the tuned policy does not.",
    "coverage_gained_excess": "Problems gained, less what a replicate of the base would gain.",
    "coverage_lost_excess": "Problems lost, less what a replicate of the base would lose.",
    "coverage_mcnemar": "Chance that gained and lost problems split at least this unevenly if nothing changed.",
}
"""Measurement -> how to read it."""

COVERAGE = Measure(
    name="coverage",
    title="Coverage",
    summary="Problems solved within k draws: gained and lost, beside what a replicate of the base does.",
    source="Wu et al. 2025 (arXiv 2507.14843) for the sets; McNemar 1947; replicate null: ours",
    unit="share of problems",
    null="two disjoint halves of the base's draws, averaged over all cuts",
    readings=READINGS,
    config=CoverageConfig,
    measure=measure_coverage,
)
