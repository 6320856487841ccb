"""From the contribution of each problem to masses, shares, coverage and labels with their intervals.

All of them come from the same resamples of problems, so that a share, its gain and the label at another K
refer to the same imagined audits.

Source: ours (docs/verdict.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bootstrap import (
    percentile_interval,
    ratio_interval,
    resample_weights,
    resampled_means,
    unseen_share,
    within_bounds,
)
from keyturn.core.statistics.pass_at_k import powers_of_two
from keyturn.core.statistics.proportions import LEVEL
from keyturn.core.streams import Streams
from keyturn.measures.coverage_statement import compare_pass_at_k, state_coverage
from keyturn.measures.draws import Draws
from keyturn.measures.labels import label_of, lies_above_zero, nothing_measured
from keyturn.measures.masses import Masses, gross_masses
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import Coverage, Label

CLASSES = ("deployed", "created", "undecided", "at_chance")

DRAWS_PER_K = 3
"""Base draws per problem for each unit of K: two thirds classify (2K without success just say "unreachable"),
one third estimates."""

SMALLEST_K = 2
"""At K = 1 "reachable" would need p > 1."""


@dataclass(frozen=True, kw_only=True)
class VerdictEstimates:
    """Estimates behind a label, before it is put into words.

    Args:
        masses, shares: as in :class:`keyturn.measures.verdict.Verdict`.
        coverage: the statement over all k.
        nothing: why nothing was measured; empty where something was.
        label: the verdict's.
        beyond: share of the gain that counts as created: the created share, and that at chance where
            established.
        sampling_label: what it would be without elicitation.
        curve, flips_at: as in the verdict.
        flips_to: the label there.
        holds: smallest and largest K around the verdict's at which the curve keeps its label.
    """

    masses: dict[str, Estimate]
    shares: dict[str, Estimate]
    coverage: Coverage
    nothing: str
    label: Label
    beyond: Estimate
    sampling_label: Label
    curve: tuple[tuple[float, float, float, float], ...]
    flips_at: float
    flips_to: Label | None
    holds: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The K of a verdict, and the draws that allow it.

    Args:
        asked: what was asked for.
        k: what the base's draws allow, at most that; below ``SMALLEST_K`` nothing can be classified.
        draws: base draws per problem that this rests on, 0 without problems.
    """

    asked: int
    k: int
    draws: int

    @property
    def decidable(self) -> bool:
        """Whether problems can be classified at all."""
        return self.k >= SMALLEST_K

    @property
    def shown(self) -> int:
        """K as a verdict shows it; 1 where the draws allow none."""
        return max(self.k, 1)

    @property
    def curve(self) -> tuple[int, ...]:
        """Powers of two from 2, K itself, and the largest budget that the draws can decide."""
        if not self.decidable:
            return (1,)
        return tuple(sorted({*powers_of_two(max(self.k, self.draws // DRAWS_PER_K)), self.k} - {1}))


def lowered_budget(base: Draws, k: int) -> Budget:
    """K as far as the base's draws allow it."""
    # A problem that stopped early did so because it succeeded: its few draws decide it.
    waiting = base.went_on if base.staged else np.ones(len(base), dtype=bool)
    if len(base) and not waiting.any():
        return Budget(asked=k, k=k, draws=base.typical())
    draws = base.typical(waiting)
    return Budget(asked=k, k=min(k, draws // DRAWS_PER_K), draws=draws)


def estimate(
    counts: PairedCounts, masses: Masses, budget: Budget, streams: Streams, resamples: int
) -> VerdictEstimates:
    """Estimates and labels of one list of problems.

    Args:
        counts: what was drawn, at least one graded draw of both policies per problem.
        masses: the gain of each problem divided at ``budget.curve``.
        budget: K.
        streams: randomness of the resamples.
        resamples: how many.
    """
    sample = _Bootstrap.of(_columns(counts, masses, budget), streams, resamples, counts.clusters)
    coverage = state_coverage(
        *compare_pass_at_k(
            counts.base,
            counts.tuned,
            streams,
            kind=counts.kind,
            resamples=resamples,
            clusters=counts.clusters,
        ),
        problems=len(counts.base),
    )
    gain = sample.mean("gain")
    nothing = nothing_measured(counts, coverage)

    def called(deployed: str, created: str) -> Label:
        shares = sample.share(deployed), sample.share(created)
        return "nothing measured" if nothing else label_of(gain, *shares, coverage.label, sample.units)

    by_sampling = called("deployed by sampling", "beyond by sampling")
    labels: dict[int, Label] = {k: called(f"deployed {k}", f"beyond {k}") for k in budget.curve}
    label = labels[budget.shown] if budget.decidable or nothing else "undecided"
    flips = [k for k in budget.curve if labels[k] != label] if budget.decidable else []
    elicited = label == "deployed" and by_sampling != "deployed"
    return VerdictEstimates(
        masses=_masses(sample, budget, counts),
        shares=_shares(sample, budget, counts),
        coverage=coverage,
        nothing=nothing,
        label="deployed (elicited)" if elicited else label,
        beyond=sample.share(f"beyond {budget.k}") if budget.decidable else Estimate(math.nan),
        sampling_label=by_sampling if budget.decidable else "undecided",
        curve=_curve(sample, budget),
        flips_at=float(flips[0]) if flips else math.nan,
        flips_to=labels[flips[0]] if flips else None,
        holds=_holds(labels, budget.shown),
    )


def _holds(labels: Mapping[int, Label], k: int) -> tuple[int, int]:
    below = [other for other in labels if other < k and labels[other] != labels[k]]
    above = [other for other in labels if other > k and labels[other] != labels[k]]
    same = [o for o in labels if o > max(below, default=0) and o < min(above, default=math.inf)]
    return min(same), max(same)


def _columns(counts: PairedCounts, masses: Masses, budget: Budget) -> dict[str, NDArray[np.float64]]:
    """One value per problem for everything that needs an interval."""
    problems = len(masses.gain)
    elicited = counts.elicited if counts.elicited is not None else np.zeros(problems, dtype=bool)
    at = budget.curve.index(budget.shown)
    moved = np.where(elicited[:, None], masses.created + masses.undecided, 0.0)
    columns = {
        "gain": masses.gain,
        "base": masses.base,
        "tuned": masses.tuned,
        "gross_loss": masses.gross_loss,
        "elicited": moved[:, at],
        "created by sampling": masses.created[:, at],
        "deployed by sampling": masses.deployed[:, at],
    }
    luck = [luck_established(masses.beyond_luck[:, j], counts.clusters) for j in range(len(budget.curve))]
    columns["beyond by sampling"] = masses.created[:, at] + luck[at] * masses.at_chance[:, at]
    for j, k in enumerate(budget.curve):
        columns[f"deployed {k}"] = masses.deployed[:, j] + moved[:, j]
        columns[f"created {k}"] = np.where(elicited, 0.0, masses.created[:, j])
        columns[f"undecided {k}"] = np.where(elicited, 0.0, masses.undecided[:, j])
        columns[f"at_chance {k}"] = masses.at_chance[:, j]
        columns[f"beyond {k}"] = columns[f"created {k}"] + luck[j] * masses.at_chance[:, j]
    return columns


def luck_established(beyond_luck: NDArray[np.float64], clusters: NDArray | None) -> bool:
    """Whether the success on problems at chance is surely mostly luck.

    "At chance" alone says that ability was not shown, not that there is none. It counts as creation only where
    the success is surely less than what is mostly luck (one-sided Student's t over problems, 97.5 %).

    Args:
        beyond_luck: see :class:`keyturn.measures.masses.Masses`, ``[problem]``.
        clusters: a label per problem; its mean is then one unit.
    """
    if not beyond_luck.any():
        return False
    values = beyond_luck
    if clusters is not None:
        _, member = np.unique(clusters, return_inverse=True)
        values = np.bincount(member, weights=beyond_luck) / np.bincount(member)
    if len(values) < 2:
        return False
    error = values.std(ddof=1) / math.sqrt(len(values))
    return bool(values.mean() + special.stdtrit(len(values) - 1, (1 + LEVEL) / 2) * error < 0)


def classes_known(counts: PairedCounts) -> tuple[str, ...]:
    """The classes that a verdict on these counts can have: without a known chance no problem is at chance."""
    return CLASSES if counts.chance is not None else CLASSES[:-1]


def _masses(sample: _Bootstrap, budget: Budget, counts: PairedCounts) -> dict[str, Estimate]:
    found = {
        name: sample.mean(f"{name} {budget.k}") if budget.decidable else Estimate(math.nan)
        for name in classes_known(counts)
    }
    found |= {"gain": sample.mean("gain"), **sample.gross(), "base": sample.mean("base")}
    found["tuned"] = sample.mean("tuned")
    elicited = counts.elicited is not None and budget.decidable
    return found | ({"elicited": sample.mean("elicited")} if elicited else {})


def _shares(sample: _Bootstrap, budget: Budget, counts: PairedCounts) -> dict[str, Estimate]:
    names = classes_known(counts)
    if not budget.decidable:
        return {name: Estimate(math.nan) for name in names}
    found = {name: sample.share(f"{name} {budget.k}") for name in names}
    before = {"created_before_elicitation": sample.share("created by sampling")}
    return found | (before if counts.elicited is not None else {})


def _curve(sample: _Bootstrap, budget: Budget) -> tuple[tuple[float, float, float, float], ...]:
    """Rows (k, created share, low, high); luck that is established counts as created, as it does in the
    label."""
    if not budget.decidable:
        return ()
    shares = {k: sample.share(f"beyond {k}") for k in budget.curve}
    return tuple((float(k), share.value, share.low, share.high) for k, share in shares.items())


_RANGES = {"base": (0.0, 1.0), "tuned": (0.0, 1.0)}
"""Range of one problem's value where it is not that of a difference of two rates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Bootstrap:
    """Means of several columns in the same resamples of problems."""

    names: tuple[str, ...]
    values: NDArray[np.float64]
    replicates: NDArray[np.float64]
    units: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def of(
        columns: Mapping[str, NDArray[np.float64]], streams: Streams, resamples: int, clusters: NDArray | None
    ) -> _Bootstrap:
        table = np.stack(list(columns.values()), axis=1)
        problems = len(table)
        units = problems if clusters is None else len(np.unique(clusters))
        if units < 2:
            value = table.mean(axis=0) if problems else np.full(table.shape[1], np.nan)
            nothing = np.full(table.shape[1], np.nan)
            return _Bootstrap(
                names=tuple(columns), values=value, replicates=np.full((1, len(value)), np.nan),
                units=units,
                low=nothing, high=nothing,
            )  # fmt: skip
        weights = resample_weights(problems, resamples, streams.generator("problems"), clusters)
        value, replicates = table.mean(axis=0), resampled_means(table, weights)
        bounds = np.array([_RANGES.get(name, (-1.0, 1.0)) for name in columns]).T
        low, high = percentile_interval(replicates, value, units)
        # The mass of a class is 0 on the problems of all others: one problem of it may be missing by luck.
        rare = [unseen_share(units) / 4 if name.startswith(CLASSES) else 1e-12 for name in columns]
        low, high = within_bounds(value, low, high, units, (bounds[0], bounds[1]), flat=rare)
        return _Bootstrap(
            names=tuple(columns), values=value, replicates=replicates, units=units, low=low, high=high
        )

    def mean(self, name: str) -> Estimate:
        j = self.names.index(name)
        return Estimate(float(self.values[j]), float(self.low[j]), float(self.high[j]))

    def gross(self) -> dict[str, Estimate]:
        """Gross gain and gross loss."""
        g, loss = self.names.index("gain"), self.names.index("gross_loss")
        values = gross_masses(self.values[g], self.values[loss])
        replicates = gross_masses(self.replicates[:, g], self.replicates[:, loss])
        found = {}
        for name, value, draws in zip(("gross_gain", "gross_loss"), values, replicates, strict=True):
            low, high = percentile_interval(draws, value, self.units, bounds=(0.0, 1.0))
            found[name] = Estimate(float(value), float(low), float(high))
        return found

    def share(self, name: str) -> Estimate:
        """A column's share of the gain; undefined unless the gain's interval lies above 0."""
        if not lies_above_zero(self.mean("gain")):
            return Estimate(math.nan)
        j, g = self.names.index(name), self.names.index("gain")
        low, high = ratio_interval(self.replicates[:, j], self.replicates[:, g], self.units)
        return Estimate(float(self.values[j] / self.values[g]), low, high)
