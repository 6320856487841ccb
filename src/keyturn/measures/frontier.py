"""The frontier: what ways of answering gain over the plain base, what they cost, and which are dominated.

Formula, with ``s_a(p)`` the success rate of way ``a`` on problem ``p`` (mean over its draws)::

    gain       mean_p (s_a - s_plain)
    recovered  mean_p (s_a - s_best) / mean_p (s_tuned - s_best)      s_best: the base with its best prompt
    share      mean_p (s_a - s_plain) / mean_p (s_tuned - s_plain)    the audit's gain
    front      a way is on the front of a cost where it succeeds no less than the plain base, and no other
               way has at least its success for at most its cost, one of the two being better; its frequency
               is the share of resamples where that holds

``recovered`` and ``share`` exist only where the interval of their denominator lies above 0. Denominator: the
problems that every way has a graded answer for; all ways share the same resamples of problems, so every
difference is paired.

Null: a second, independent draw of the base. A way is called ``better`` (or ``worse``) only where simultaneous
intervals over all judged ways (sup-t) lie above (below) 0 against *both* draws of the base, so that trying many
ways earns nothing. The null and ways that are told about the judged answers are never on a front.

Degenerate: fewer than two problems have no intervals and no calls. A cost that is not known is NaN; the way is
then on no front of that cost. Known bias: the front's frequencies treat costs as means over the same resampled
problems; wall seconds vary from run to run beyond that. Source: ours; simultaneous intervals:
:mod:`keyturn.core.statistics.bands`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.statistics.bands import sup_t_band
from keyturn.core.statistics.bootstrap import (
    RESAMPLES,
    percentile_interval,
    ratio_interval,
    resample_weights,
    resampled_means,
)
from keyturn.core.streams import Streams

Kind: TypeAlias = Literal["base", "null", "prompt", "elicitation", "control", "training", "tuned"]
Call: TypeAlias = Literal["reference", "null", "better", "worse", "not told apart", "told the answers"]

COSTS: Mapping[str, str] = {
    "generated": "tokens generated an answer",
    "seconds": "seconds an answer, on this machine",
    "before": "seconds before the first answer, on this machine",
    "examples": "problems whose gold answers were used",
    "weights": "weights changed",
    "steered": "share of tokens steered",
    "teacher_bits": "bits from a teacher an answer",
}
"""Cost -> its title, with the unit."""

PLAIN, NULL, TUNED = "plain", "plain again", "tuned"
"""Names of the plain base, of its second draw, and of the reference model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """One way of answering, measured on the common problems.

    Args:
        name: unique, with the settings that differ from the defaults.
        kind: what it is.
        success: mean success of each problem's draws, NaN where nothing was graded, ``[problem]``.
        costs: cost -> mean of each problem's draws, NaN where not known, ``[problem]``.
        told: it is told about the answers that it is judged by; a ceiling and no way.
        control: ways that tell what it does from what anything of its kind would do.
    """

    name: str
    kind: Kind
    success: NDArray[np.float64]
    costs: Mapping[str, NDArray[np.float64]]
    told: bool = False
    control: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """A way on the frontier.

    Args:
        name, kind: of the way.
        success: mean success.
        gain: over the plain base, paired over problems.
        over_null: over the second draw of the base, paired.
        recovered: share of (tuned - best-prompted base); undefined without a sure denominator.
        share: share of (tuned - plain base), the audit's gain.
        beyond: control -> success minus that control's, paired.
        costs: cost -> mean, NaN where not known.
        call: what the gain counts as.
        front: cost -> share of resamples in which it is on the front of that cost; missing where the cost is
            not known or the way has no place on a front.
        on_front: costs on whose front the means put it.
    """

    name: str
    kind: Kind
    success: Estimate
    gain: Estimate
    over_null: Estimate
    recovered: Estimate
    share: Estimate
    beyond: Mapping[str, Estimate]
    costs: Mapping[str, float]
    call: Call
    front: Mapping[str, float] = field(default_factory=dict)
    on_front: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """All fields; undefined numbers are null."""
        return {
            "name": self.name,
            "kind": self.kind,
            "call": self.call,
            "success": self.success.to_json(),
            "gain": self.gain.to_json(),
            "gain_over_second_draw": self.over_null.to_json(),
            "recovered": self.recovered.to_json(),
            "share_of_gain": self.share.to_json(),
            "beyond_control": {name: one.to_json() for name, one in self.beyond.items()},
            "costs": {name: json_number(value) for name, value in self.costs.items()},
            "on_front": list(self.on_front),
            "front_frequency": {name: json_number(value) for name, value in self.front.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """All points of one frontier.

    Args:
        points: in the order of the ways.
        best_prompt: name of the base with its best prompt (the plain base where no prompt is better).
        problems: common problems that were judged.
        left_out: problems without a graded answer of every way.
        gap: tuned minus the base with its best prompt, paired; undefined without a tuned model.
        tuned_gain: tuned minus the plain base, paired.
    """

    points: tuple[Point, ...]
    best_prompt: str
    problems: int
    left_out: int
    gap: Estimate
    tuned_gain: Estimate

    def point(self, name: str) -> Point:
        """The point of a way."""
        return next(one for one in self.points if one.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the ways."""
        return tuple(one.name for one in self.points)


def frontier_of(
    ways: Sequence[Way], best_prompt: str, streams: Streams, *, resamples: int = RESAMPLES
) -> Frontier:
    """Place all ways on one frontier.

    Args:
        ways: with :data:`PLAIN`, :data:`NULL` and maybe :data:`TUNED` among them, on the same problems.
        best_prompt: the way that is the base with its best prompt.
        streams: randomness of the resamples.
        resamples: how many.
    """
    sheet = _Sheet.of(ways, streams, resamples)
    gap, tuned_gain = (
        (sheet.difference(TUNED, other) if TUNED in sheet.place else Estimate(math.nan))
        for other in (best_prompt, PLAIN)
    )
    fronts = {cost: sheet.front(cost) for cost in COSTS}
    calls = _calls(sheet, streams)
    points = []
    for place, way in enumerate(ways):
        known = {cost: one for cost, one in fronts.items() if np.isfinite(one[0][place])}
        points.append(
            Point(
                name=way.name,
                kind=way.kind,
                success=sheet.mean(way.name),
                gain=sheet.difference(way.name, PLAIN),
                over_null=sheet.difference(way.name, NULL),
                recovered=sheet.ratio(way.name, best_prompt, gap),
                share=sheet.ratio(way.name, PLAIN, tuned_gain),
                beyond={
                    other: sheet.difference(way.name, other) for other in way.control if other in sheet.place
                },
                costs={cost: float(sheet.costs[cost][:, place].mean()) for cost in COSTS},
                call=calls[way.name],
                front={cost: float(one[0][place]) for cost, one in known.items()},
                on_front=tuple(cost for cost, one in known.items() if one[1][place]),
            )
        )
    return Frontier(
        points=tuple(points),
        best_prompt=best_prompt,
        problems=len(sheet.success),
        left_out=len(ways[0].success) - len(sheet.success),
        gap=gap,
        tuned_gain=tuned_gain,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sheet:
    """Success and costs of all ways on the common problems, and their means in the same resamples."""

    ways: Sequence[Way]
    place: Mapping[str, int]
    success: NDArray[np.float64]
    costs: Mapping[str, NDArray[np.float64]]
    weights: NDArray[np.float64]
    means: NDArray[np.float64]

    @staticmethod
    def of(ways: Sequence[Way], streams: Streams, resamples: int) -> _Sheet:
        table = np.stack([way.success for way in ways], axis=1)
        known = np.isfinite(table).all(axis=1)
        table = table[known]
        weights = resample_weights(len(table), resamples, streams.generator("problems"))
        return _Sheet(
            ways=ways,
            place={way.name: place for place, way in enumerate(ways)},
            success=table,
            costs={
                cost: np.stack(
                    [np.broadcast_to(way.costs.get(cost, np.nan), known.shape)[known] for way in ways], axis=1
                )
                for cost in COSTS
            },
            weights=weights,
            means=resampled_means(table, weights) if len(table) else np.full((resamples, len(ways)), np.nan),
        )

    def mean(self, name: str) -> Estimate:
        """Mean success of a way."""
        at = self.place[name]
        return self._estimate(self.success[:, at], self.means[:, at], (0.0, 1.0))

    def difference(self, name: str, other: str) -> Estimate:
        """Success of one way minus that of another, paired over problems."""
        a, b = self.place[name], self.place[other]
        if a == b:
            return Estimate(0.0, 0.0, 0.0)
        return self._estimate(
            self.success[:, a] - self.success[:, b], self.means[:, a] - self.means[:, b], (-1.0, 1.0)
        )

    def ratio(self, name: str, zero: str, whole: Estimate) -> Estimate:
        """A way's success as a share of what lies between ``zero`` and the tuned model, where that is sure."""
        if not whole.low > 0:
            return Estimate(math.nan)
        a, z, t = (self.place[one] for one in (name, zero, TUNED))
        if a in (z, t):
            return Estimate(float(a == t), float(a == t), float(a == t))
        top, bottom = self.means[:, a] - self.means[:, z], self.means[:, t] - self.means[:, z]
        low, high = ratio_interval(top, bottom, len(self.success))
        value = (self.success[:, a] - self.success[:, z]).mean() / whole.value
        return Estimate(float(value), low, high)

    def front(self, cost: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """How often each way is on the front of a cost (NaN: no place on it), and whether the means put it
        there."""
        able = np.array([not way.told and way.kind != "null" for way in self.ways])
        able &= np.isfinite(self.costs[cost]).all(axis=0) & (len(self.success) > 1)
        often, now = np.full(len(self.ways), np.nan), np.zeros(len(self.ways), dtype=bool)
        if able.any():
            paid = resampled_means(self.costs[cost][:, able], self.weights)
            often[able] = self._on(self.means, able, paid).mean(axis=0)
            paid = self.costs[cost][:, able].mean(axis=0)[None]
            now[able] = self._on(self.success.mean(axis=0)[None], able, paid)[0]
        return often, now

    def _on(
        self, success: NDArray[np.float64], able: NDArray[np.bool_], paid: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Which ways are undominated and no worse than the plain base, ``[resample, able way]``."""
        plain = success[:, self.place[PLAIN]][:, None]
        return undominated(success[:, able], paid) & (success[:, able] >= plain - 1e-12)

    def _estimate(
        self, values: NDArray[np.float64], replicates: NDArray[np.float64], bounds: tuple[float, float]
    ) -> Estimate:
        if len(values) < 2:
            return Estimate(float(values.mean()) if len(values) else math.nan)
        value = float(values.mean())
        low, high = percentile_interval(replicates[:, None], [value], len(values), bounds=bounds)
        return Estimate(value, float(low[0]), float(high[0]))


def undominated(success: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which ways no other way dominates, in each resample.

    Args:
        success: ``[resample, way]``.
        cost: ``[resample, way]``, without NaN.

    Returns:
        bool ``[resample, way]``; equal ways do not dominate each other.
    """
    out = np.ones(success.shape, dtype=bool)
    close = 1e-12
    for way in range(success.shape[1]):
        better = success - success[:, way : way + 1]
        cheaper = cost[:, way : way + 1] - cost
        beats = (better >= -close) & (cheaper >= -close) & ((better > close) | (cheaper > close))
        out[:, way] = ~beats.any(axis=1)
    return out


def _calls(sheet: _Sheet, streams: Streams) -> dict[str, Call]:
    """What each way's gain counts as, by simultaneous intervals against both draws of the base."""
    fixed: Mapping[str, Call] = {"base": "reference", "null": "null"}
    calls: dict[str, Call] = {way.name: fixed.get(way.kind, "not told apart") for way in sheet.ways}
    judged = [way.name for way in sheet.ways if way.kind not in fixed and not way.told]
    calls |= {way.name: "told the answers" for way in sheet.ways if way.told}
    if len(sheet.success) < 2 or not judged:
        return calls
    chosen = sheet.success[:, [sheet.place[name] for name in judged]]
    gains = [chosen - sheet.success[:, [sheet.place[base]]] for base in (PLAIN, NULL)]
    band = sup_t_band(np.concatenate(gains, axis=1), streams.generator("simultaneous"), bounds=(-1.0, 1.0))
    low, high = band.low.reshape(2, len(judged)), band.high.reshape(2, len(judged))
    for place, name in enumerate(judged):
        if (low[:, place] > 0).all():
            calls[name] = "better"
        elif (high[:, place] < 0).all():
            calls[name] = "worse"
    return calls
