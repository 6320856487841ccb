"""The top of the report: one sentence per audit, the deciding numbers, one table over all audits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate
from keyturn.core.numbers import counted, estimate, number, whole
from keyturn.measures.verdict import Caution, Label, Verdict
from keyturn.report.conditions import Condition, conditions
from keyturn.report.figure import Figure
from keyturn.report.figures.gain import mass, parts_of, waterfall, words_of
from keyturn.report.lookup import crossing_of
from keyturn.report.svg import clip
from keyturn.report.tables import Table

SAID: dict[Label, str] = {
    "deployed": "post-training deployed what the base could already do",
    "created": "post-training created what the base does not reach in {draws}",
    "deployed (elicited)": "post-training deployed what elicitation already gets out of the base",
    "mixed": "post-training deployed part of its gain and created part of it",
    "narrowed": "post-training narrowed what is solved and gained nothing",
    "worse": "post-training made success rarer",
    "no change": "post-training changed nothing that these problems show",
    "undecided": "the draws do not decide what post-training changed",
    "nothing measured": "nothing was measured: these draws cannot show what post-training changed",
}
"""Label -> its meaning, as the rest of a sentence that begins with the audit's name."""

SIGNS: dict[Label, tuple[str, str]] = {
    "deployed": ("deployed", "●"),
    "deployed (elicited)": ("deployed", "◉"),
    "created": ("created", "◆"),
    "mixed": ("mixed", "◐"),
    "narrowed": ("narrowed", "▼"),
    "worse": ("narrowed", "▽"),
    "no change": ("quiet", "○"),
    "undecided": ("quiet", "?"),
    "nothing measured": ("caution", "–"),
}
"""Label -> class and sign of its badge."""

NAME = 44
"""Maximum number of characters of an audit's or a cell's name in the table; a longer one is cut in its
middle."""
TITLE = 70
"""Maximum number of characters of an audit's name in a title."""
FEW = 16
"""Maximum number of an audit's cells in the page's main table; if there are more, they get a collapsed
table."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One deciding number: its name, its value, and its interval or what it rests on."""

    name: str
    value: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The verdict of one audit at a glance.

    Args:
        name, label: name of the audit and label of its verdict.
        said: the verdict as the rest of a sentence.
        badge: class and sign of the label.
        why: the deciding numbers in one sentence.
        needed: what would decide an undecided verdict; empty if it is decided.
        cautions: the warnings.
        facts: the deciding numbers.
        conditions: the settings of the audit.
        figure: where the gain came from; None if nothing was measured.
    """

    name: str
    said: str
    label: str
    badge: tuple[str, str]
    why: str
    needed: str
    cautions: tuple[Caution, ...]
    facts: tuple[Fact, ...]
    conditions: tuple[Condition, ...]
    figure: Figure | None


def said(result: AuditResult) -> str:
    """The rest of the sentence that begins with the audit's name."""
    return SAID[result.verdict.label].format(draws=counted(result.verdict.k, "draw"))


def card(result: AuditResult, prefix: str) -> Card:
    """The verdict of one audit at a glance."""
    verdict = result.verdict
    drawn = verdict.label != "nothing measured" and math.isfinite(mass(verdict.masses, "gain").value)
    return Card(
        name=clip(result.name, TITLE),
        said=said(result),
        label=verdict.label,
        badge=SIGNS[verdict.label],
        why=verdict.why,
        needed=verdict.needed,
        cautions=cautions(result),
        facts=facts(result),
        conditions=conditions(result),
        figure=waterfall(f"{prefix}-waterfall", verdict.masses, verdict.unit) if drawn else None,
    )


def cautions(result: AuditResult) -> tuple[Caution, ...]:
    """Reasons to distrust the verdict, without those that its own sentence states already."""
    found = result.cautions or result.verdict.cautions
    return tuple(caution for caution in found if caution.text != result.verdict.why)


def facts(result: AuditResult) -> tuple[Fact, ...]:
    """The deciding numbers, the most important first."""
    verdict = result.verdict
    out = [_fact("gain", mass(verdict.masses, "gain"), signed=True)]
    for name in ("deployed", "created", "at_chance"):
        found = verdict.shares.get(name)
        if found is not None and math.isfinite(found.value):
            out.append(_fact(f"{words_of(name)} share", found))
    coverage = verdict.coverage
    reach = f"up to {counted(coverage.k_max, 'draw')}" if coverage.k_max else "nothing compared"
    out.append(Fact(name="coverage", value=coverage.label, more=reach))
    crossing = crossing_of(result.measurements, verdict.unit)
    if crossing is not None and not math.isnan(crossing.value):
        value = "never" if math.isinf(crossing.value) else f"k = {number(crossing.value, digits=1)}"
        sure = "" if math.isinf(crossing.value) or crossing.parameters.get("established") else ", not for sure"
        out.append(Fact(name="curves meet", value=value, more=f"of pass@k{sure}"))
    return tuple(out)


def standing(verdict: Verdict) -> str:
    """The budget, draws, problems and success that the verdict rests on."""
    draws, problems = counted(verdict.n_base, "base draw"), counted(verdict.problems, "problem")
    unit = "a verified completion" if verdict.unit == "verified" else "the answer alone"
    return f"K = {verdict.k}; up to {draws} per problem; {problems}; success is {unit}"


def table(results: Sequence[AuditResult]) -> Table:
    """Pooled and per-cell verdicts of all audits with their intervals, for the terminal and as Markdown."""
    parts = parts_of(v.masses for result in results for v in _verdicts(result))
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    for result in results:
        marked.append(len(rows))
        name = clip(result.name, NAME)
        rows.append((name, "all", *_row(result.verdict, parts)))
        rows += [(name, clip(c.name, NAME), *_row(c.verdict, parts)) for c in result.cells if c.name]
    return Table(
        caption=_caption(results),
        header=("audit", "cell", *_header(parts)),
        rows=tuple(rows),
        words=frozenset({0, 1, 2, 6 + len(parts)}),
        marked=frozenset(marked),
    )


def page_tables(results: Sequence[AuditResult]) -> tuple[Table, tuple[Table, ...]]:
    """The same for the page: one main table with rows named by audit and cell, and a separate table for each
    audit with very many cells."""
    parts = parts_of(v.masses for result in results for v in _verdicts(result))
    header = ("", *_header(parts))
    words = frozenset({0, 1, 5 + len(parts)})
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    apart: list[Table] = []
    for result in results:
        marked.append(len(rows))
        rows.append((clip(result.name, NAME), *_row(result.verdict, parts)))
        cells = tuple((clip(c.name, NAME), *_row(c.verdict, parts)) for c in result.cells if c.name)
        if len(cells) <= FEW:
            rows += cells
        else:
            caption = f"{clip(result.name, NAME)}: {counted(len(cells), 'cell')}; brackets: 95 % intervals"
            apart.append(Table(caption=caption, header=header, rows=cells, words=words))
    main = Table(
        caption=_caption(results), header=header, rows=tuple(rows), words=words, marked=frozenset(marked)
    )
    return main, tuple(apart)


def _verdicts(result: AuditResult) -> list[Verdict]:
    return [result.verdict, *(cell.verdict for cell in result.cells)]


def _caption(results: Sequence[AuditResult]) -> str:
    k = ", ".join(str(budget) for budget in sorted({result.verdict.k for result in results}))
    return f"Mean success and where its gain came from, at K = {k}; brackets: 95 % intervals"


def _header(parts: Sequence[str]) -> tuple[str, ...]:
    return ("verdict", "gain", "base", "tuned", *map(words_of, parts), "coverage", "problems")


def _row(verdict: Verdict, parts: Sequence[str]) -> tuple[str, ...]:
    masses = verdict.masses
    return (
        verdict.label,
        estimate(mass(masses, "gain"), signed=True),
        *(estimate(mass(masses, policy)) for policy in ("base", "tuned")),
        *(estimate(mass(masses, part), signed=True) for part in parts),
        verdict.coverage.label,
        whole(verdict.problems),
    )


def _fact(name: str, found: Estimate, *, signed: bool = False) -> Fact:
    value, _, interval = estimate(found, signed=signed).partition(" ")
    return Fact(name=name, value=value, more=interval or "no interval")
