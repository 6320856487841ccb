"""Deployed or created: whether the gain is on problems that the base already reached.

    gain = D + C + U + A,   means of (tuned - base success) over the problems that the base reaches within K
    draws
                            (D), does not reach (C), about which its draws do not decide (U), or that it solves
                            no better than by chance (A, where chance is known)

in three steps: classes (``classes``), masses (``masses``), label (``labels``). A verdict holds for its K; the
curve of the created share against K, and the smallest K with another label, go with it.

Denominator: the problems with a graded draw of both policies; they are what is resampled. Degenerate: no
problem, too few problems, or one draw a problem give ``undecided`` and say why; where neither side ever
succeeds (or always does), or answers were cut, ``nothing measured``.

Known bias: none in the masses for the classes as drawn; the label's errors are measured in
``benchmarks/operating_characteristic``. Source: ours (docs/verdict.md). Where it is silent we decided:

- *N* is the number of base draws that nine of ten problems have, among those that did not stop early with
  enough successes; K is lowered to N // 3 if that is less. Problems with fewer draws stay, mostly undecided.
- Under 6 base draws (K < 2) nothing can be classified: at K = 1 every problem would be "unreachable".
- Tuned draws fewer than K do not lower K, which is about the base; pass@k is then compared up to the tuned
policy's
  number of draws, and says so.
- The label at another K of the curve keeps the coverage statement, which is about all k.
- With ``elicited``, masses and shares count elicited problems as deployed (D + C + U is still the gain); the
  share created before that stands beside them, and the label is ``deployed (elicited)`` only where sampling
  alone would not have given ``deployed``.
- Shares need a gain above 0: of a loss nothing was deployed or created.
- Ungraded draws count neither as draws nor as failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Estimate, Measurement, Null, Parameter
from keyturn.core.statistics.bootstrap import RESAMPLES
from keyturn.core.streams import Streams
from keyturn.measures.cautions import cautions_of, needed_of
from keyturn.measures.cells import CellKey, cell_name, cells_of, places
from keyturn.measures.contract import Arm, Measure, Tables
from keyturn.measures.draws import plain_draws
from keyturn.measures.estimates import CLASSES, SMALLEST_K, estimate, lowered_budget
from keyturn.measures.evidence import Evidence, gather
from keyturn.measures.masses import divide_gain, gross_masses
from keyturn.measures.verdict import UNDECIDED, Verdict
from keyturn.measures.wording import notes_of, why_of
from keyturn.rollouts.grades import Answers


def judge(
    base: Answers,
    tuned: Answers,
    *,
    streams: Streams,
    k: int = 64,
    bound: ArrayLike | None = None,
    exact: ArrayLike | None = None,
    guess: ArrayLike | None = None,
    chance: ArrayLike | None = None,
    floor: ArrayLike | None = None,
    elicited: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    cell_keys: Sequence[str] = (),
    answers_only: bool = False,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Judge a tuned policy against its base, on all problems pooled.

    Args:
        base, tuned: graded draws of the same problems in the same order.
        streams: randomness of cuts and resamples.
        k: budget K; lowered to a third of the base's draws where those are fewer.
        bound: certified lower bound of base success, ``[problem]``, NaN unknown.
        exact: exact base success, ``[problem]``, NaN unknown; the notes compare the classes with it.
        guess: rate at which the answer is guessed, ``[problem]``, NaN unknown; used where answers alone count.
        chance: rate at which a valid trace is hit by luck, known exactly or measured, the same; used where
            traces are read.
        floor: an upper bound of that rate, the same; stated and compared with, never used.
        elicited: problems that an elicitation without teacher or answer bits solved, bool ``[problem]``.
        clusters: a label per problem (its base, its template); clusters are resampled whole.
        cell_keys: fields of ``Problem.cell``; whole cells are tested against chance.
        answers_only: count right answers as success even where traces were read.
        resamples: bootstrap resamples.

    Raises:
        InputError: the policies answered different problems, or a column is not one entry a problem.
        UsageError: ``k < 2`` or no resample.
    """
    evidence = gather(
        base, tuned, bound=bound, exact=exact, guess=guess, chance=chance, floor=floor, elicited=elicited,
        clusters=clusters, cell_keys=cell_keys, answers_only=answers_only,
    )  # fmt: skip
    return judge_evidence(evidence, streams=streams, k=k, resamples=resamples)


def judge_cells(
    base: Answers,
    tuned: Answers,
    *,
    by: Sequence[str],
    streams: Streams,
    k: int = 64,
    bound: ArrayLike | None = None,
    exact: ArrayLike | None = None,
    guess: ArrayLike | None = None,
    chance: ArrayLike | None = None,
    floor: ArrayLike | None = None,
    elicited: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    answers_only: bool = False,
    resamples: int = RESAMPLES,
) -> tuple[tuple[CellKey, Verdict], ...]:
    """One verdict a cell, in the order of the cells' keys; arguments as for :func:`judge`.

    Args:
        by: fields of ``Problem.cell`` that make a cell, e.g. ``("depth",)``.
    """
    evidence = gather(
        base, tuned, bound=bound, exact=exact, guess=guess, chance=chance, floor=floor, elicited=elicited,
        clusters=clusters, cell_keys=by, answers_only=answers_only,
    )  # fmt: skip
    return tuple(
        (
            key,
            judge_evidence(evidence.at(index), streams=streams.child(cell_name(key)), k=k, resamples=resamples),
        )
        for key, index in cells_of(base.problems, by)
    )


def judge_evidence(evidence: Evidence, *, streams: Streams, k: int = 64, resamples: int = RESAMPLES) -> Verdict:
    """Judge counts (what :func:`judge` does after counting)."""
    if k < SMALLEST_K or resamples < 1:
        raise UsageError(f"a verdict needs K >= {SMALLEST_K} and a resample", fix="raise k and resamples")
    known = (evidence.base.n > 0) & (evidence.tuned.n > 0)
    evidence = evidence.at(known)
    budget = lowered_budget(evidence.base, k)
    masses = divide_gain(
        evidence.base,
        evidence.tuned,
        budget.curve,
        streams.generator("cuts"),
        chance=evidence.chance,
        cells=evidence.cells,
        bound=evidence.bound,
    )
    judged = estimate(evidence, masses, budget, streams, resamples)
    classes = masses.classes(budget.curve.index(budget.shown))
    if not budget.decidable:
        classes = np.full(len(classes), UNDECIDED, dtype=np.int8)
    return Verdict(
        label=judged.label,
        coverage=judged.coverage,
        why=why_of(judged, budget, evidence.units),
        k=budget.shown,
        n_base=int(evidence.base.n.max(initial=0)),
        problems=len(classes),
        masses=judged.masses,
        shares=judged.shares,
        classes=_everywhere(known, classes, UNDECIDED),
        base_p=_everywhere(known, masses.base, np.nan),
        tuned_q=_everywhere(known, masses.tuned, np.nan),
        curve=judged.curve,
        flips_at=judged.flips_at,
        unit=evidence.unit,
        notes=notes_of(evidence, judged, classes, budget, left_out=int((~known).sum())),
        cautions=cautions_of(evidence, judged, budget, classes),
        needed=needed_of(evidence, judged, budget, classes),
    )


def _everywhere(known: NDArray[np.bool_], values: NDArray, elsewhere: float) -> NDArray:
    """Values of the judged problems in the list of all of them."""
    everywhere = np.full(len(known), elsewhere, dtype=values.dtype)
    everywhere[known] = values
    return everywhere


REPLICATES = 100
"""Random cuts of the base behind the null: its 95 % range then rests on the outer five."""


@dataclass(frozen=True, kw_only=True)
class DeployedCreatedConfig:
    """Options of the measure."""

    k: int = 64
    """Budget K in draws; lowered where the base has fewer than three times as many. Default: the audit's K."""
    by: tuple[str, ...] = ()
    """Fields of a problem's cell: measure each cell too."""
    resamples: int = RESAMPLES
    """Bootstrap resamples over problems."""


def measure_deployed_created(tables: Tables, config: DeployedCreatedConfig) -> tuple[Measurement, ...]:
    """Masses with their replicate null, shares, and the created share against K."""
    base, tuned = tables.base, tables.tuned
    assert base is not None
    assert tuned is not None
    evidence = gather(
        base,
        tuned,
        bound=tables.bound,
        exact=tables.exact,
        guess=tables.guess,
        chance=tables.chance,
        floor=tables.floor,
        elicited=tables.elicited,
    )
    found: list[Measurement] = []
    for where, index in places(base.problems, config.by):
        here = evidence.at(index)
        streams = tables.streams.child(*map(str, where.values()))
        verdict = judge_evidence(here, streams=streams, k=config.k, resamples=config.resamples)
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


def replicate_masses(evidence: Evidence, k: int, streams: Streams) -> dict[str, Null]:
    """Masses between a random quarter of the base's draws and the rest: what they are if nothing changed.

    A quarter, because at 4K draws that is the tuned policy's K; where the base stopped after its first stage
    the quarter is small and the range wider than it need be.

    Args:
        evidence: what was drawn.
        k: the verdict's K.
        streams: randomness.
    """
    base_evidence = evidence.at(evidence.base.n >= 2)
    base = base_evidence.base
    if not len(base):
        return {}
    generator = streams.generator("replicates")
    apart = np.maximum(base.n // 4, 1)
    means: dict[str, list[float]] = {}
    for _ in range(REPLICATES):
        c = generator.hypergeometric(base.c, base.n - base.c, apart)
        rest, other = plain_draws(base.n - apart, base.c - c), plain_draws(apart, c)
        masses = divide_gain(
            rest, other, (k,), generator, splits=1, chance=base_evidence.chance, cells=base_evidence.cells
        )
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


DEPLOYED_CREATED = Measure(
    name="deployed_created",
    summary="How much of the gain is on problems that the base reached within K draws, and how much is not.",
    source="ours",
    unit="probability",
    null="a random quarter of the base's draws against the rest",
    needs=frozenset({"base", "tuned"}),
    config=DeployedCreatedConfig,
    arms=lambda config: (Arm(policy="base", draws=4 * config.k), Arm(policy="tuned", draws=config.k)),
    measure=measure_deployed_created,
)
