"""The top of the report: one sentence an audit, the deciding numbers, one table over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.core.measurement import Estimate
from keyturn.measures.verdict import Label, Verdict
from keyturn.report.figure import Figure
from keyturn.report.figures.gain import PARTS, mass, waterfall
from keyturn.report.lookup import crossing_of
from keyturn.report.numbers import counted, estimate, number, percent, whole
from keyturn.report.tables import Table
from keyturn.studies.result import AuditResult

SAID: dict[Label, str] = {
    "deployed": "post-training deployed what the base could already do",
    "created": "post-training created what the base does not reach in {draws}",
    "deployed (elicited)": "post-training deployed what elicitation already gets out of the base",
    "mixed": "post-training deployed part of its gain and created part of it",
    "narrowed": "post-training narrowed what is solved and gained nothing",
    "no change": "post-training changed nothing that these problems show",
    "worse": "post-training made the policy succeed less often",
    "nothing measured": "these draws measure nothing",
    "undecided": "the draws do not decide what post-training changed",
}
"""Label -> what it means, as the rest of a sentence that begins with the audit's name."""

SIGNS: dict[Label, tuple[str, str]] = {
    "deployed": ("deployed", "●"),
    "deployed (elicited)": ("deployed", "◉"),
    "created": ("created", "◆"),
    "mixed": ("mixed", "◐"),
    "narrowed": ("narrowed", "▼"),
    "no change": ("quiet", "○"),
    "worse": ("narrowed", "▽"),
    "nothing measured": ("quiet", "–"),
    "undecided": ("quiet", "?"),
}
"""Label -> class and sign of its badge."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One deciding number: what it is, its value, what stands behind it."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The verdict of one audit at a glance."""

    name: str
    said: str
    label: str
    badge: tuple[str, str]
    why: str
    facts: tuple[Fact, ...]
    figure: Figure


def said(result: AuditResult) -> str:
    """The rest of the sentence that begins with the audit's name."""
    return SAID[result.verdict.label].format(draws=counted(result.verdict.k, "draw"))


def card(result: AuditResult, prefix: str) -> Card:
    """The verdict of one audit at a glance."""
    verdict = result.verdict
    return Card(
        name=result.name,
        said=said(result),
        label=verdict.label,
        badge=SIGNS[verdict.label],
        why=verdict.why,
        facts=facts(result),
        figure=waterfall(f"{prefix}-waterfall", verdict.masses, verdict.unit),
    )


def facts(result: AuditResult) -> tuple[Fact, ...]:
    """The numbers that decided, most telling first."""
    verdict = result.verdict
    gain = mass(verdict.masses, "gain")
    shares = [(name, verdict.shares.get(name)) for name in ("deployed", "created")]
    out = [Fact(name="gain", value=number(gain.value, signed=True), more=_span(gain, True))]
    out += [
        Fact(name=f"{name} share", value=percent(found.value), more=_span_percent(found))
        for name, found in shares
        if found is not None and math.isfinite(found.value)
    ]
    out.append(
        Fact(
            name="coverage",
            value=verdict.coverage.label,
            more=f"up to {counted(verdict.coverage.k_max, 'draw')}",
        )
    )
    crossing = crossing_of(result.measurements, verdict.unit)
    if crossing is not None and not math.isnan(crossing.value):
        value = "never" if math.isinf(crossing.value) else f"k = {number(crossing.value, digits=1)}"
        sure = "" if math.isinf(crossing.value) or crossing.parameters.get("established") else ", not for sure"
        out.append(Fact(name="curves meet", value=value, more=f"of pass@k{sure}"))
    return tuple(out)


def standing(verdict: Verdict) -> str:
    """What the verdict stands on."""
    draws, problems = counted(verdict.n_base, "base draw"), counted(verdict.problems, "problem")
    unit = "a verified completion" if verdict.unit == "verified" else "the answer alone"
    return f"K = {verdict.k}; up to {draws} a problem; {problems}; success is {unit}"


def table(results: Sequence[AuditResult]) -> Table:
    """Pooled and per cell, all audits: the table of the terminal, the report and the clipboard."""
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    for result in results:
        marked.append(len(rows))
        rows.append(_row(result.name, "all", result.verdict))
        cells = [cell for cell in result.cells if cell.name]
        rows += [_row(result.name, cell.name, cell.verdict) for cell in cells]
    budgets = sorted({result.verdict.k for result in results})
    k = ", ".join(str(budget) for budget in budgets)
    return Table(
        caption=f"Mean success and where its gain came from, at K = {k}; brackets: 95 % intervals",
        header=("audit", "cell", "problems", "base", "tuned", "gain", *PARTS, "coverage", "verdict"),
        rows=tuple(rows),
        words=frozenset({0, 1, 9, 10}),
        marked=frozenset(marked),
    )


def _row(name: str, cell: str, verdict: Verdict) -> tuple[str, ...]:
    masses = verdict.masses
    return (
        name,
        cell,
        whole(verdict.problems),
        number(mass(masses, "base").value),
        number(mass(masses, "tuned").value),
        estimate(mass(masses, "gain"), signed=True),
        *(number(mass(masses, part).value, signed=True) for part in PARTS),
        verdict.coverage.label,
        verdict.label,
    )


def _span(found: Estimate, signed: bool = False) -> str:
    if math.isnan(found.low) or math.isnan(found.high):
        return "no interval"
    return f"{number(found.low, signed=signed)} to {number(found.high, signed=signed)}"


def _span_percent(found: Estimate) -> str:
    if math.isnan(found.low) or math.isnan(found.high):
        return "no interval"
    return f"{percent(found.low)} to {percent(found.high)}"
