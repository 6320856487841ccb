"""Section on breadth: success within k draws, created share against the budget, problems gained and lost."""

from __future__ import annotations

import math

import numpy as np

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate, Measurement
from keyturn.core.numbers import counted, estimate, number
from keyturn.report.figure import Figure
from keyturn.report.figures.compare import Bar, Words, beside_null
from keyturn.report.figures.curves import Curve, Meeting, created_share, difference, pass_at_k
from keyturn.report.figures.ranges import Stretch, stretches_of
from keyturn.report.lookup import crossing_of, estimate_of, find, first, null_of
from keyturn.report.sections.contract import Section, absence


def coverage(result: AuditResult, prefix: str) -> Section:
    """pass@k curves, and in a collapsed block the created share by budget and problems gained and lost."""
    kinds = [kind for kind in ("verified", "answer") if _budgets(result, "pass_at_k", kind) > 1]
    # The verdict's kind of success comes first; the other one is in the collapsed block.
    kinds.sort(key=lambda kind: kind != result.verdict.unit)
    curves = [_pass(result, prefix, kind) for kind in kinds]
    shown = [*curves[:1], *_if_any(_difference(result, prefix))]
    more = [*_if_any(_share(result, prefix)), *curves[1:], *_if_any(_gained_and_lost(result, prefix))]
    return Section(
        id=f"{prefix}-coverage",
        title="Success within k draws",
        says=(*_crossing(result), *_mcnemar(result)),
        figures=tuple(shown or more),
        more=tuple(more if shown else ()),
        absent="" if shown or more else absence(result, "pass_at_k", "No pass@k was measured."),
        folded=False,
    )


def _if_any(figure: Figure | None) -> list[Figure]:
    return [] if figure is None else [figure]


def _budgets(result: AuditResult, name: str, kind: str) -> int:
    """Number of known points of a curve; a single point counts as none."""
    found = find(result.measurements, name, success=kind, cell=None)
    return len({_k(m) for m in found if math.isfinite(m.value)})


def _pass(result: AuditResult, prefix: str, kind: str) -> Figure:
    found = crossing_of(result.measurements, kind)
    meeting = None
    if found is not None and not math.isnan(found.value):
        meeting = Meeting(k=found.value, sure=bool(found.parameters.get("established")))
    judged = kind == result.verdict.unit
    return pass_at_k(
        f"{prefix}-pass-{kind}",
        [c for c in (_curve(result, policy, kind) for policy in ("base", "tuned")) if c.k],
        success=kind,
        budget=result.verdict.k,
        meeting=meeting,
        stretches=_stretches(result) if judged else (),
        said=_sentence(result.verdict.coverage.sentence) if judged else "",
    )


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].rstrip(".") + "." if words else ""


def _stretches(result: AuditResult) -> tuple[Stretch, ...]:
    """Budgets at which the verdict calls the tuned policy surely above, unknown or surely below."""
    found = result.verdict.coverage
    return stretches_of(found.above, found.below, found.k_max) if found.k_max > 1 else ()


def _curve(result: AuditResult, policy: str, kind: str) -> Curve:
    rows = find(result.measurements, "pass_at_k", policy=policy, success=kind, cell=None)
    return _rows(policy, policy, rows)


def _rows(name: str, look: str, rows: list[Measurement]) -> Curve:
    rows = sorted(rows, key=_k)
    return Curve(
        name=name,
        look=look,
        k=tuple(_k(m) for m in rows),
        value=tuple(m.value for m in rows),
        low=tuple(m.low for m in rows),
        high=tuple(m.high for m in rows),
        extrapolated=tuple(_share_of(m) for m in rows),
    )


def _k(found: Measurement) -> float:
    value = found.parameters.get("k")
    return float(value) if isinstance(value, int | float) else math.nan


def _share_of(found: Measurement) -> float:
    value = found.parameters.get("extrapolated")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _difference(result: AuditResult, prefix: str) -> Figure | None:
    rows = find(result.measurements, "pass_at_k_difference", success=result.verdict.unit, cell=None)
    if _budgets(result, "pass_at_k_difference", result.verdict.unit) < 2:
        return None
    nulls = [(_k(m), null_of(m)) for m in sorted(rows, key=_k)]
    return difference(
        f"{prefix}-difference",
        _rows("tuned − base", "tuned", rows),
        tuple((k, null.low, null.high) for k, null in nulls),
        success=result.verdict.unit,
        budget=result.verdict.k,
    )


def _share(result: AuditResult, prefix: str) -> Figure | None:
    verdict = result.verdict
    if not any(np.isfinite(row[1]) for row in verdict.curve):
        return None
    return created_share(f"{prefix}-share", verdict.curve, budget=verdict.k, flips_at=verdict.flips_at)


def _gained_and_lost(result: AuditResult, prefix: str) -> Figure | None:
    unit = result.verdict.unit
    bars = []
    budget = ""
    for name, words in (("coverage_gained", "gained"), ("coverage_lost", "lost")):
        found = first(result.measurements, name, success=unit, cell=None)
        if found is not None and not math.isnan(found.value):
            bars.append(Bar(name=words, found=estimate_of(found), null=null_of(found)))
            budget = f" within {counted(_k(found), 'draw')}"
    if not bars:
        return None
    said = Words(
        title="Problems gained and lost",
        says=_excess(result),
        axis=f"share of problems solved{budget} by one policy only",
        reading="Two samples of one model also gain and lose problems by luck (grey: two halves of the base's "
        "own draws). Only an excess over that luck, with its whole interval, is due to training.",
    )
    return beside_null(f"{prefix}-gained", bars, said)


def _excess(result: AuditResult) -> str:
    """Gains and losses beyond the replicate null: the paired excess, which the verdict also uses."""
    said = []
    for name, words in (("coverage_gained_excess", "gained"), ("coverage_lost_excess", "lost")):
        found = first(result.measurements, name, success=result.verdict.unit, cell=None)
        if found is not None and not math.isnan(found.low):
            sure = "beyond luck" if found.low > 0 else "not beyond luck for sure"
            said.append(f"{words}: {estimate(estimate_of(found), signed=True)}, {sure}")
    return f"In excess of the null, {'; '.join(said)}." if said else ""


def _crossing(result: AuditResult) -> tuple[str, ...]:
    found = crossing_of(result.measurements, result.verdict.unit)
    if found is None:
        return ()
    if math.isnan(found.value):
        return (f"Nothing to cross: {found.note}.",) if found.note else ()
    said = crossing_words(estimate_of(found))
    never = found.parameters.get("p_no_crossing")
    if isinstance(never, float) and 0 < never < 1:
        said += f" In {number(never)} of the resamples they do not meet."
    if found.parameters.get("established") is False and math.isfinite(found.value):
        said += " The bands do not establish this."
    return (said,)


def crossing_words(crossing: Estimate) -> str:
    """Where the curves meet, as a sentence; infinite means that they do not."""
    if math.isinf(crossing.value):
        low = number(crossing.low, digits=1)
        reach = f" (95 % interval from k = {low} on)" if math.isfinite(crossing.low) else ""
        return f"The curves do not meet within the tuned policy's draws{reach}."
    return f"The curves meet at k = {estimate(crossing, digits=1)}."


def _mcnemar(result: AuditResult) -> tuple[str, ...]:
    found = first(result.measurements, "coverage_mcnemar", cell=None)
    if found is None or not math.isfinite(found.value):
        return ()
    gained, lost = found.parameters.get("gained"), found.parameters.get("lost")
    p = number(found.value, digits=3, small=True)
    return (
        f"Within {counted(_k(found), 'draw')} the tuned policy solved {gained} problems that the base "
        f"did not, and {lost} the other way round (McNemar p = {p}).",
    )
