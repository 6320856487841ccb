"""Where the pass@k curves of base and tuned policy meet: the budget k* beyond which the base is ahead.

With ``D(k) = pass@k(tuned) - pass@k(base)``, k* is the smallest k with ``D(k) <= 0`` after ``D(1) > 0``. It is
interpolated linearly on ``log2 k`` between the budgets that are compared (file ``coverage_statement``), and
infinite where D stays positive up to the tuned policy's draws. Its interval is the bootstrap distribution over
problems, infinity included, among the resamples in which the tuned policy leads at k = 1. A crossing is
*established* only if the simultaneous band of D excludes 0 on both sides: above 0 before k*, below 0 after it.

Denominator: the problems with graded draws of both policies. Degenerate: where the tuned policy does not lead
at k = 1 there is nothing to cross: NaN, n = 0. Known bias: k* is coarse where D is flat; whether there is a
crossing is told by the band, not by k*. The null compares two random halves of the base's draws: curves of one
and the same policy cross too, where they differ by luck alone.

Source: measured since Yue et al. 2025 (arXiv 2504.13837); distribution and band: ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null, Parameter
from keyturn.core.statistics.bands import Band
from keyturn.core.statistics.bootstrap import RESAMPLES
from keyturn.core.streams import Streams
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.coverage_statement import compare_pass_at_k
from keyturn.measures.draws import Draws, plain_draws
from keyturn.measures.paired import PairedCounts

REPLICATES = 100
"""Random halvings behind the null: five of them lie outside its 95 % range."""


@dataclass(frozen=True, kw_only=True)
class CrossingConfig:
    """Options of the measure."""

    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def crossing_points(difference: NDArray[np.float64], ks: tuple[int, ...]) -> NDArray[np.float64]:
    """k* of each curve: NaN where it does not start above 0, infinity where it never falls to 0.

    Args:
        difference: D(k), float64 ``[curve, k]``.
        ks: budgets, ascending, ``[k]``.
    """
    leads = difference[:, 0] > 0
    down = difference <= 0
    first = down.argmax(axis=1)
    crosses = leads & down.any(axis=1)
    rows = np.flatnonzero(crosses)
    after, before = difference[rows, first[rows]], difference[rows, first[rows] - 1]
    log_k = np.log2(np.asarray(ks, dtype=np.float64))
    step = log_k[first[rows]] - log_k[first[rows] - 1]
    points = np.where(leads, np.inf, np.nan)
    points[rows] = 2 ** (log_k[first[rows] - 1] + step * before / (before - after))
    return points


def measure_crossing(tables: Tables, config: CrossingConfig) -> tuple[Measurement, ...]:
    """k* with its distribution, and D(k) with its band, for every kind of success, pooled and by cell."""
    found: list[Measurement] = []
    for where, counts in tables.paired.by_place(config.by):
        both = counts.at(counts.graded)
        # The verdict's own randomness, so that its coverage statement and this measure are one.
        streams = tables.streams.child(*map(str, where.values()))
        found += _crossing(both, streams, config.resamples, {"success": counts.kind, **where})
    return tuple(found)


def _crossing(
    counts: PairedCounts, streams: Streams, resamples: int, parameters: dict[str, Parameter]
) -> list[Measurement]:
    base = counts.base
    ks, band = compare_pass_at_k(base, counts.tuned, streams, kind=counts.kind, resamples=resamples)
    shown = [j for j, k in enumerate(ks) if k & (k - 1) == 0 or k == ks[-1]]
    null = _null(base, tuple(ks[j] for j in shown), streams.child("crossing", counts.kind))
    gaps = [
        Measurement(
            name="pass_at_k_difference",
            value=float(band.value[j]),
            low=float(band.low[j]),
            high=float(band.high[j]),
            n=len(base),
            unit="probability",
            null=Null(kind="replicate of the base", value=0.0, low=float(null[0][i]), high=float(null[1][i])),
            parameters={**parameters, "k": ks[j]},
        )
        for i, j in enumerate(shown)
    ]
    return [_point(band, ks, null[2], len(base), parameters), *gaps]


def _point(
    band: Band,
    ks: tuple[int, ...],
    null_points: NDArray[np.float64],
    problems: int,
    parameters: dict[str, Parameter],
) -> Measurement:
    point = float(crossing_points(band.value[None, :], ks)[0])
    points = crossing_points(band.replicates, ks) if len(band.replicates) else np.empty(0)
    leading = points[~np.isnan(points)]
    ends = _range(leading) if len(leading) and not np.isnan(point) else (np.nan, np.nan)
    above, below = band.low > 0, band.high < 0
    established = bool(above.any() and below.any() and below.nonzero()[0].max() > above.nonzero()[0].min())
    known = null_points[~np.isnan(null_points)]
    null = Null(kind="replicate of the base")
    if len(known):
        null = Null(
            kind="replicate of the base",
            value=float(np.quantile(known, 0.5, method="lower")),
            low=_range(known)[0],
            high=_range(known)[1],
        )
    return Measurement(
        name="crossing",
        value=point,
        low=ends[0],
        high=ends[1],
        n=0 if np.isnan(point) else problems,
        unit="draws",
        null=null,
        parameters={
            **parameters,
            "k_max": ks[-1],
            "p_ahead_at_1": float(len(leading) / len(points)) if len(points) else np.nan,
            "p_no_crossing": float(np.isinf(leading).mean()) if len(leading) else np.nan,
            "established": established,
        },
        note="the tuned policy does not lead at k = 1, so there is nothing to cross" if np.isnan(point) else "",
    )


def _range(points: NDArray[np.float64]) -> tuple[float, float]:
    """95 % range that may hold infinities (no interpolation between them)."""
    return (
        float(np.quantile(points, 0.025, method="lower")),
        float(np.quantile(points, 0.975, method="higher")),
    )


def _null(
    base: Draws, ks: tuple[int, ...], streams: Streams
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Range of D(k) between random halves of the base's draws, and the k* of each halving."""
    generator = streams.generator("halves")
    half = np.tile(base.n // 2, REPLICATES)
    n, c = np.tile(base.n, REPLICATES), np.tile(base.c, REPLICATES)
    if not len(base) or not (half > 0).any():
        nothing = np.full(len(ks), np.nan)
        return nothing, nothing, np.empty(0)
    first = generator.hypergeometric(c, n - c, half)
    second = generator.hypergeometric(c - first, n - half - (c - first), half)
    curves = [plain_draws(half, hits).curve(ks)[0] for hits in (first, second)]
    difference = (curves[1] - curves[0]).reshape(REPLICATES, len(base), len(ks))
    means = np.nanmean(difference[:, base.n > 1], axis=1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return low, high, crossing_points(means, ks)


READINGS = {
    "crossing": "The k at which base and tuned pass@k meet; infinite where they do not.",
    "pass_at_k_difference": "Tuned less base pass@k: above 0 the tuned policy is ahead at that many draws.",
}
"""Measurement -> how to read it."""

CROSSING = Measure(
    name="crossing",
    title="Crossing",
    summary="The number of draws beyond which the base solves more problems than the tuned policy.",
    source="Yue et al. 2025, arXiv 2504.13837; bootstrap distribution and band: ours",
    unit="draws",
    null="two random halves of the base's draws against each other",
    readings=READINGS,
    config=CrossingConfig,
    measure=measure_crossing,
)
