"""How long completions are, by outcome, and how many were cut at the limit.

For each problem: the mean length of its draws (all, the right ones, the wrong ones) and the share that was cut
at the limit; then the mean over problems. The change is paired: it is taken over the problems that have such
draws under both policies.

Denominator: the problems with such a draw. Degenerate: none gives NaN with n = 0. Known bias: a right
completion is rarely a cut one, so "right" is short where the limit is tight; and right draws come from the
problems that were solved. Where draws were made in two stages only the first stage counts, because the second
was chosen by success. The null is the same change between two random halves of the base's draws.

Source: ours; unit of analysis after Miller 2024, "Adding Error Bars to Evals" (arXiv 2411.00640).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import RESAMPLES, bootstrap_mean
from keyturn.core.statistics.paired import paired_difference
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import first_stage, halves
from keyturn.rollouts.grades import Answers

REPLICATES = 40
"""Random halvings behind the null. Few, because each goes through all rows of the base."""


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """Options of the measure."""

    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def mean_by_problem(answers: Answers, values: NDArray, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of the chosen rows' values, float64 ``[problem]``; NaN where none is chosen.

    Args:
        answers: whose rows.
        values: ``[row]``.
        chosen: bool ``[row]``.
    """
    size = len(answers.problems)
    count = np.bincount(answers.problem[chosen], minlength=size)
    total = np.bincount(answers.problem[chosen], weights=values[chosen], minlength=size)
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)


def measure_length(tables: Tables, config: LengthConfig) -> tuple[Measurement, ...]:
    """Length by outcome and truncation of both policies, and their change, pooled and by cell."""
    base, tuned = first_stage(tables.paired.base), first_stage(tables.paired.tuned)
    counted = base.length_in if base.length_in == tuned.length_in else "tokens or words"
    streams = tables.streams.child("length")
    replicates = _replicates(base, streams)
    columns = {policy: _columns(a, np.ones(len(a), bool)) for policy, a in (("base", base), ("tuned", tuned))}
    found: list[Measurement] = []
    for where, index in tables.paired.places(config.by):
        for outcome in columns["base"]:
            pair = columns["base"][outcome][index], columns["tuned"][outcome][index]
            nulls = [mean for part in replicates if not np.isnan(mean := _mean(part[outcome][index]))]
            found += _measurements(
                outcome, *pair, nulls, streams.child(outcome, str(where)), config, where, counted
            )
    return tuple(found)


def _columns(answers: Answers, rows: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    success, rows = answers.success, rows & (answers.length >= 0)
    kinds = {"all": rows, "right": rows & (success == 1), "wrong": rows & (success == 0)}
    lengths = {kind: mean_by_problem(answers, answers.length, chosen) for kind, chosen in kinds.items()}
    cut = answers.truncated if answers.cuts_known else np.full(len(answers), np.nan)
    return {**lengths, "truncated": mean_by_problem(answers, cut, rows)}


def _replicates(base: Answers, streams: Streams) -> list[dict[str, NDArray[np.float64]]]:
    """Differences between random halves of the base's draws, per problem."""
    found = []
    for replicate in range(REPLICATES):
        first, second = (_columns(base, rows) for rows in halves(base, streams.generator("halves", replicate)))
        found.append({kind: second[kind] - first[kind] for kind in first})
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _measurements(
    outcome: str,
    base: NDArray[np.float64],
    tuned: NDArray[np.float64],
    nulls: list[float],
    streams: Streams,
    config: LengthConfig,
    where: dict[str, Parameter],
    counted: str,
) -> list[Measurement]:
    truncated = outcome == "truncated"
    name, unit = ("truncated", "share of draws") if truncated else ("length", counted)
    unsaid = (
        "the files do not say which completions were cut" if truncated and not np.isfinite(base).any() else ""
    )
    parameters: dict[str, Parameter] = where if truncated else {"outcome": outcome, **where}
    found = []
    for policy, values in (("base", base), ("tuned", tuned)):
        estimate = bootstrap_mean(values, streams.generator(policy), resamples=config.resamples)
        found.append(
            Measurement(
                name=name,
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                n=int(np.isfinite(values).sum()),
                unit=unit,
                parameters={"policy": policy, **parameters},
                note=unsaid,
            )
        )
    null = Null(kind="replicate of the base")
    if nulls:
        low, high = np.quantile(nulls, [0.025, 0.975])
        null = Null(kind=null.kind, value=float(np.mean(nulls)), low=float(low), high=float(high))
    change = paired_difference(base, tuned, streams.generator("change"), resamples=config.resamples)
    both = int((np.isfinite(base) & np.isfinite(tuned)).sum())
    changed = Measurement(
        name=f"{name}_change",
        value=change.value,
        low=change.low,
        high=change.high,
        n=both,
        unit=unit,
        null=null,
        parameters=parameters,
        note=unsaid,
    )
    return [*found, changed]


READINGS = {
    "length": "Tokens of a completion.",
    "length_change": "Tuned less base length on the same problems.",
    "truncated": "Share of completions cut at the length limit.",
    "truncated_change": "Tuned less base share of completions cut at the limit.",
}
"""Measurement -> how to read it."""

LENGTH = Measure(
    name="length",
    title="Length",
    summary="Tokens per completion by outcome, the share cut at the limit, and how both changed.",
    source="ours",
    unit="tokens",
    null="two random halves of the base's draws",
    needs=frozenset({"completions"}),
    readings=READINGS,
    config=LengthConfig,
    measure=measure_length,
)
