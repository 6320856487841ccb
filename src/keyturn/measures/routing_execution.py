"""Does the gain come from choosing better strategies, or from carrying them out better?

``gain = routing + execution + unattributed``, Kitagawa's split of each problem (``kitagawa``), once over the
strategies and once over the formats that the grader names; then the mean over problems.

Denominator: the problems with a graded draw of both policies. Degenerate: no named strategy gives NaN with n =
0; a gain whose interval does not lie above 0 has no shares. Known bias: see ``kitagawa``; what cannot be
attributed is called so. The null splits the base's draws at random into two halves and divides *their*
difference.

Source: Kitagawa 1955; over strategies of a policy after Zhao et al. 2025, "Echo Chamber" (arXiv 2504.07912).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import (
    RESAMPLES,
    bootstrap_mean,
    ratio_interval,
    resample_weights,
    resampled_means,
)
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import draws_of, halves
from keyturn.measures.kitagawa import Counted, Split, codes_of, count_by, kitagawa
from keyturn.measures.labels import lies_above_zero
from keyturn.rollouts.grades import Answers

REPLICATES = 40
"""Random halvings behind the null. Few, because each counts all rows of the base again."""

PARTS = ("routing", "execution", "unattributed")


@dataclass(frozen=True, kw_only=True)
class RoutingExecutionConfig:
    """Options of the measure."""

    over: tuple[str, ...] = ("strategy", "format")
    """Columns of the grades that name the alternatives; columns that no grader fills are left out."""
    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def shares(measurements: Sequence[Measurement], gain: Estimate, over: str = "strategy") -> dict[str, Estimate]:
    """Routing and execution share of the pooled gain, NaN where they do not exist; for a verdict's shares.

    Args:
        measurements: what :func:`measure_routing_execution` found, other measurements among them or not.
        gain: the verdict's gain; shares exist only where its interval lies above 0.
        over: ``"strategy"`` or ``"format"``.
    """
    found = {"routing": Estimate(float("nan")), "execution": Estimate(float("nan"))}
    for m in measurements:
        part = str(m.parameters.get("part", ""))
        pooled = m.name == "routing_execution_share" and "cell" not in m.parameters
        if pooled and m.parameters.get("over") == over and part in found and lies_above_zero(gain):
            found[part] = Estimate(m.value, m.low, m.high)
    return found


def measure_routing_execution(tables: Tables, config: RoutingExecutionConfig) -> tuple[Measurement, ...]:
    """The three parts of the gain, their shares, and share and accuracy of every strategy before and after."""
    base, tuned = tables.paired.base, tables.paired.tuned
    found: list[Measurement] = []
    for over in config.over:
        if all(over in table.columns and np.any(table.columns[over] != "") for table in (base, tuned)):
            found += _over(over, tables, config)
    if found:
        return tuple(found)
    note = f"no grader names a {' or '.join(config.over)}"
    return (Measurement(name="routing_execution", value=float("nan"), n=0, unit="probability", note=note),)


def _over(over: str, tables: Tables, config: RoutingExecutionConfig) -> list[Measurement]:
    paired, draws = tables.paired, tables.paired.counts()
    base, tuned = paired.base, paired.tuned
    streams = tables.streams.child("routing_execution", over)
    columns = base.columns[over], tuned.columns[over]
    names = sorted({str(name) for column in columns for name in column})
    counted = [
        count_by(answers, codes_of(column, names), len(names), np.ones(len(answers), dtype=bool))
        for answers, column in zip((base, tuned), columns, strict=True)
    ]
    forced = _forced(tables.forced, names, base) if over == "strategy" else {}
    replicates = _replicates(base, columns[0], names, forced, streams)
    found: list[Measurement] = []
    for where, index in paired.places(config.by):
        index = index[draws.graded[index]]
        split = kitagawa(
            counted[0].at(index),
            counted[1].at(index),
            {policy: accuracy[index] for policy, accuracy in forced.items()},
            base_rate=draws.base.rate[index],
        )
        parameters: dict[str, Parameter] = {"over": over, **where}
        here = streams.child(str(where))
        found += _parts(split, replicates, index, here, config.resamples, parameters)
        for policy, table in zip(("base", "tuned"), counted, strict=True):
            found += _profile(
                table.at(index), names, here.child(policy), config, {"policy": policy, **parameters}
            )
    return found


def _forced(
    forced: Mapping[tuple[str, str], Answers], names: Sequence[str], base: Answers
) -> dict[str, NDArray[np.float64]]:
    """Accuracy under a forced prefix, float64 ``[problem, strategy]`` by policy."""
    place = {problem.id: i for i, problem in enumerate(base.problems)}
    found = {policy: np.full((len(place), len(names)), np.nan) for policy in ("base", "tuned")}
    for (policy, strategy), answers in forced.items():
        if policy in found and strategy in names:
            rows = np.array([place[problem.id] for problem in answers.problems], dtype=np.int64)
            found[policy][rows, names.index(strategy)] = draws_of(answers).rate
    return found


def _replicates(
    base: Answers,
    column: NDArray,
    names: Sequence[str],
    forced: Mapping[str, NDArray[np.float64]],
    streams: Streams,
) -> list[Split]:
    """The split between random halves of the base's draws, over all problems."""
    ours: dict[str, NDArray[np.float64]] = {}
    if forced:
        ours = {"base": forced["base"], "tuned": forced["base"]}
    codes = codes_of(column, names)
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for replicate in range(REPLICATES):
            rows = halves(base, streams.generator("halves", replicate))
            first, second = (count_by(base, codes, len(names), half) for half in rows)
            found.append(kitagawa(first, second, ours))
    return found


def _parts(
    split: Split,
    replicates: list[Split],
    index: NDArray[np.int64],
    streams: Streams,
    resamples: int,
    parameters: dict[str, Parameter],
) -> list[Measurement]:
    problems = len(split.gain)
    weights = resample_weights(problems, resamples, streams.generator("problems"))
    gain = bootstrap_mean(split.gain, streams.generator("gain"), resamples=resamples)
    found = []
    for part in PARTS:
        values: NDArray[np.float64] = getattr(split, part)
        estimate = bootstrap_mean(values, streams.generator(part), resamples=resamples, bounds=(-1.0, 1.0))
        means = [_mean(getattr(replicate, part)[index]) for replicate in replicates]
        means = [mean for mean in means if not np.isnan(mean)]
        null = Null(kind="replicate of the base")
        if means:
            low, high = np.quantile(means, [0.025, 0.975])
            null = Null(kind=null.kind, value=float(np.mean(means)), low=float(low), high=float(high))
        keys = {"part": part, **parameters}
        found.append(_measurement("routing_execution", estimate, problems, "probability", keys, null))
        share = Estimate(float("nan"))
        if lies_above_zero(gain):
            both = resampled_means(np.stack([values, split.gain], axis=1), weights)
            share = Estimate(estimate.value / gain.value, *ratio_interval(both[:, 0], both[:, 1], problems))
        known = 0 if np.isnan(share.value) else problems
        found.append(_measurement("routing_execution_share", share, known, "share of the gain", keys, None))
    return found


def _profile(
    counted: Counted,
    names: Sequence[str],
    streams: Streams,
    config: RoutingExecutionConfig,
    parameters: dict[str, Parameter],
) -> list[Measurement]:
    """Share of every strategy among the draws, and its accuracy where it is taken."""
    share = counted.n / counted.n.sum(axis=1, keepdims=True)
    success = counted.c / counted.n.sum(axis=1, keepdims=True)
    problems = len(share)
    found = []
    for j, name in enumerate(names):
        keys = {"alternative": name, **parameters}
        taken = bootstrap_mean(
            share[:, j], streams.generator("share", name), resamples=config.resamples, bounds=(0.0, 1.0)
        )
        found.append(_measurement("strategy_share", taken, problems, "share of draws", keys, None))
        using = int((counted.n[:, j] > 0).sum())
        accuracy = Estimate(float("nan"))
        if using:
            accuracy = Estimate(float(success[:, j].sum() / share[:, j].sum()))
        if using > 1:
            weights = resample_weights(problems, config.resamples, streams.generator("accuracy", name))
            both = resampled_means(np.stack([success[:, j], share[:, j]], axis=1), weights)
            low, high = ratio_interval(both[:, 0], both[:, 1], using)
            accuracy = Estimate(accuracy.value, max(low, 0.0), min(high, 1.0))
        found.append(_measurement("strategy_accuracy", accuracy, using, "probability", keys, None))
    return found


def _measurement(
    name: str, estimate: Estimate, n: int, unit: str, parameters: Mapping[str, Parameter], null: Null | None
) -> Measurement:
    return Measurement(
        name=name,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=n,
        unit=unit,
        null=null,
        parameters=parameters,
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


READINGS = {
    "routing_execution": "A part of the gain: from other choices of strategy, or from better execution.",
    "routing_execution_share": "That part, divided by the gain.",
    "strategy_share": "Share of completions that follow an alternative, mean over problems.",
    "strategy_accuracy": "Success of the completions that follow an alternative.",
}
"""Measurement -> how to read it."""

ROUTING_EXECUTION = Measure(
    name="routing_execution",
    title="Routing and execution",
    summary="The gain split into choosing strategies differently and carrying them out differently.",
    source="Kitagawa 1955; Zhao et al. 2025, arXiv 2504.07912, for shares of formats",
    unit="probability",
    null="two random halves of the base's draws",
    readings=READINGS,
    config=RoutingExecutionConfig,
    measure=measure_routing_execution,
)
