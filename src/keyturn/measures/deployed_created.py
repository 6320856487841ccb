"""Deployed or created: whether the gain is on problems that the base already reached.

    gain = D + C + U + A,   means of (tuned - base success) over the problems that the base reaches within K
                            draws (D), does not reach (C), about which its draws do not decide (U), or that
                            it solves no better than by chance (A, where chance is known)

in three steps: classes (``classes``), masses (``masses``), label (``labels``). A verdict holds for its K. With
it go the curve of the created share against K, and the smallest K at which the label changes.

Denominator: the problems with a graded draw of both policies; the bootstrap resamples them. Degenerate: no
problem, too few problems, or one draw per problem give ``undecided`` and say why. Where neither side ever
succeeds (or always does), or answers were cut, the label is ``nothing measured``.

Known bias: none in the masses for the classes as drawn; the errors of the label are measured in
``benchmarks/operating_characteristic``. Source: ours (docs/verdict.md). Where it is silent we decided:

- *N* is the number of base draws that nine of ten problems have, among those that did not stop early with
  enough successes. K is lowered to N // 3 if that is less. Problems with fewer draws stay in, mostly
  undecided.
- With fewer than 6 base draws (K < 2) nothing can be classified: at K = 1 every problem would be
  "unreachable".
- K is about the base, so fewer tuned draws than K do not lower it. pass@k is then compared up to the tuned
  policy's number of draws, and a note says so.
- The label at another K of the curve keeps the coverage statement, which is about all k.
- With ``elicited``, masses and shares count elicited problems as deployed (D + C + U is still the gain). The
  share that was created before that stands beside them. The label is ``deployed (elicited)`` only where
  sampling alone would not have given ``deployed``.
- Shares need a gain above 0: of a loss nothing was deployed or created.
- Draws that were not graded count neither as draws nor as failures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate, Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import RESAMPLES
from keyturn.core.streams import Streams
from keyturn.measures.cautions import cautions_of, needed_of
from keyturn.measures.contract import Measure, Tables
from keyturn.measures.draws import plain_draws
from keyturn.measures.estimates import CLASSES, SMALLEST_K, estimate, lowered_budget
from keyturn.measures.masses import divide_gain, gross_masses
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import UNDECIDED, Verdict
from keyturn.measures.wording import notes_of, why_of


def judge(counts: PairedCounts, *, streams: Streams, k: int = 64, resamples: int = RESAMPLES) -> Verdict:
    """Judge a tuned policy against its base on some problems: all of them, or those of one cell.

    Args:
        counts: draws and successes of both policies (:meth:`keyturn.measures.paired.Paired.counts`).
        streams: randomness of cuts and resamples.
        k: budget K; lowered to a third of the base's draws where those are fewer.
        resamples: bootstrap resamples.

    Raises:
        UsageError: ``k < 2`` or no resample.
    """
    if k < SMALLEST_K or resamples < 1:
        raise UsageError(
            f"a verdict needs K >= {SMALLEST_K} and at least one resample", fix="raise k and resamples"
        )
    known = counts.graded
    counts = counts.at(known)
    budget = lowered_budget(counts.base, k)
    masses = divide_gain(
        counts.base,
        counts.tuned,
        budget.curve,
        streams.generator("cuts"),
        chance=counts.chance,
        cells=counts.cells,
        bound=counts.bound,
    )
    estimates = estimate(counts, masses, budget, streams, resamples)
    classes = masses.classes(budget.curve.index(budget.shown))
    if not budget.decidable:
        classes = np.full(len(classes), UNDECIDED, dtype=np.int8)
    return Verdict(
        label=estimates.label,
        coverage=estimates.coverage,
        why=why_of(estimates, budget, counts.units),
        k=budget.shown,
        n_base=int(counts.base.n.max(initial=0)),
        problems=len(classes),
        masses=estimates.masses,
        shares=estimates.shares,
        classes=_everywhere(known, classes, UNDECIDED),
        base_p=_everywhere(known, masses.base, np.nan),
        tuned_q=_everywhere(known, masses.tuned, np.nan),
        curve=estimates.curve,
        flips_at=estimates.flips_at,
        unit=counts.kind,
        notes=notes_of(counts, estimates, classes, budget, left_out=int((~known).sum())),
        cautions=cautions_of(counts, estimates, budget, classes),
        needed=needed_of(counts, estimates, budget, classes),
    )


def _everywhere(known: NDArray[np.bool_], values: NDArray, elsewhere: float) -> NDArray:
    """Values of the judged problems in the list of all of them."""
    everywhere = np.full(len(known), elsewhere, dtype=values.dtype)
    everywhere[known] = values
    return everywhere


REPLICATES = 100
"""Random cuts of the base behind the null: five of them lie outside its 95 % range."""


@dataclass(frozen=True, kw_only=True)
class DeployedCreatedConfig:
    """Options of the measure."""

    k: int = 64
    """Budget K in draws; lowered to a third of the base's draws if that is less. Default: the audit's K."""
    by: tuple[str, ...] = ()
    """Fields of a problem's cell; where given, each cell is measured too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def measure_deployed_created(tables: Tables, config: DeployedCreatedConfig) -> tuple[Measurement, ...]:
    """Masses with their replicate null, shares, and the created share against K."""
    counts = tables.paired.counts()
    found: list[Measurement] = []
    for where, index in tables.paired.places(config.by):
        here = counts.at(index)
        streams = tables.streams.child(*map(str, where.values()))
        verdict = judge(here, streams=streams, k=config.k, resamples=config.resamples)
        nulls = replicate_masses(here, verdict.k, streams)
        parameters: dict[str, Parameter] = {"k": verdict.k, "success": verdict.unit, **where}
        found += [
            _measured("mass", name, mass, verdict, parameters, nulls.get(name))
            for name, mass in verdict.masses.items()
        ]
        found += [
            _measured("share", name, share, verdict, parameters, None) for name, share in verdict.shares.items()
        ]
        for k, value, low, high in verdict.curve:
            at_k: dict[str, Parameter] = {**parameters, "k": int(k)}
            found.append(_measured("curve", "created", Estimate(value, low, high), verdict, at_k, None))
    return tuple(found)


def replicate_masses(counts: PairedCounts, k: int, streams: Streams) -> dict[str, Null]:
    """Masses between a random quarter of the base's draws and the rest: what the masses are if nothing changed.

    A quarter, because at 4K draws that is the tuned policy's K; where the base stopped after its first stage
    the quarter is small and the range wider than it need be.

    Args:
        counts: what was drawn.
        k: the verdict's K.
        streams: randomness.
    """
    counts = counts.at(counts.base.n >= 2)
    base = counts.base
    if not len(base):
        return {}
    generator = streams.generator("replicates")
    apart = np.maximum(base.n // 4, 1)
    means: dict[str, list[float]] = {}
    for _ in range(REPLICATES):
        c = generator.hypergeometric(base.c, base.n - base.c, apart)
        rest, other = plain_draws(base.n - apart, base.c - c), plain_draws(apart, c)
        masses = divide_gain(rest, other, (k,), generator, splits=1, chance=counts.chance, cells=counts.cells)
        for name in ("gain", *CLASSES):
            means.setdefault(name, []).append(float(getattr(masses, name).mean()))
        gross = gross_masses(masses.gain.mean(), masses.gross_loss.mean())
        for name, value in zip(("gross_gain", "gross_loss"), gross, strict=True):
            means.setdefault(name, []).append(float(value))
    ranges = {name: np.quantile(values, [0.025, 0.975]) for name, values in means.items()}
    return {
        name: Null(
            kind="replicate of the base", value=float(np.mean(means[name])), low=float(low), high=float(high)
        )
        for name, (low, high) in ranges.items()
    }


def _measured(
    kind: str,
    part: str,
    estimate: Estimate,
    verdict: Verdict,
    parameters: dict[str, Parameter],
    null: Null | None,
) -> Measurement:
    names = {"mass": "deployed_created", "share": "deployed_created_share", "curve": "created_share_at_k"}
    keys = parameters if kind == "curve" else {"part": part, **parameters}
    return Measurement(
        name=names[kind],
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=0 if np.isnan(estimate.value) else verdict.problems,
        unit="probability" if kind == "mass" else "share of the gain",
        null=null,
        parameters=keys,
    )


READINGS = {
    "deployed_created": "A part of the gain, by whether the base reaches the problem within K draws.",
    "deployed_created_share": "That part, divided by the gain.",
    "created_share_at_k": "The created share if the budget were this k.",
}
"""Measurement -> how to read it."""

DEPLOYED_CREATED = Measure(
    name="deployed_created",
    title="Deployed and created",
    summary="How much of the gain is on problems that the base reached within K draws, and how much is not.",
    source="ours",
    unit="probability",
    null="a random quarter of the base's draws against the rest",
    readings=READINGS,
    config=DeployedCreatedConfig,
    measure=measure_deployed_created,
)
