"""Section on where the gain came from, by cell and by problem."""

from __future__ import annotations

import math

import numpy as np

from keyturn.auditing.result import AuditResult
from keyturn.core.numbers import estimate
from keyturn.measures.verdict import Verdict
from keyturn.report.figures.gain import CellRow, by_cell, mass
from keyturn.report.figures.problems import moved
from keyturn.report.sections.contract import Section

TITLE = "Where the gain came from"


def gain(result: AuditResult, prefix: str) -> Section:
    """The masses by cell, and one stroke per problem."""
    verdict = result.verdict
    figures = []
    if verdict.label == "nothing measured":
        # If nothing was measured, classes of problems would look like a finding.
        return Section(
            id=f"{prefix}-gain", title=TITLE, absent=f"Nothing was measured: {verdict.why}.", folded=False
        )
    cells = [cell for cell in result.cells if cell.name and _known(cell.verdict)]
    if cells:
        rows = [
            CellRow(name=c.name, label=c.verdict.label, problems=c.verdict.problems, masses=c.verdict.masses)
            for c in cells
        ]
        figures.append(by_cell(f"{prefix}-cells", rows, verdict.unit))
    if np.isfinite(verdict.base_p + verdict.tuned_q).any():
        ids, names = judged_problems(result)
        figures.append(
            moved(f"{prefix}-moved", ids, names, verdict.base_p, verdict.tuned_q, verdict.classes, verdict.k)
        )
    return Section(
        id=f"{prefix}-gain",
        title=TITLE,
        says=_elicited(result),
        figures=tuple(figures),
        absent="" if figures else f"No problem was judged: {verdict.why}.",
        folded=False,
    )


def _known(verdict: Verdict) -> bool:
    """Whether there is anything to draw of a verdict."""
    return all(math.isfinite(mass(verdict.masses, name).value) for name in ("base", "tuned"))


def _elicited(result: AuditResult) -> tuple[str, ...]:
    """What elicitation solves, and the change of the created share by it, if there was any."""
    said = () if result.elicited is None else result.elicited.sentences
    before, after = (result.verdict.shares.get(name) for name in ("created_before_elicitation", "created"))
    if before is None or after is None or math.isnan(before.value):
        return said
    return (
        *said,
        f"Created share before elicitation {estimate(before)}; with what elicitation reaches counted as "
        f"deployed, {estimate(after)}.",
    )


def judged_problems(result: AuditResult) -> tuple[list[str], list[str]]:
    """Ids and cells of the judged problems, in the order of the verdict's columns."""
    paired, count = result.tables.paired, len(result.verdict.classes)
    known = np.ones(len(paired.problems), dtype=bool)
    if len(known) != count and result.verdict.unit in paired.kinds:
        # A verdict leaves out problems without a graded draw of both policies.
        known = paired.counts(result.verdict.unit).graded
    kept = [problem for problem, judged in zip(paired.problems, known, strict=True) if judged]
    if len(kept) != count:
        return _numbered(count)
    return [p.id for p in kept], [", ".join(f"{k} {v}" for k, v in p.cell.items()) for p in kept]


def _numbered(count: int) -> tuple[list[str], list[str]]:
    return [f"problem {i + 1}" for i in range(count)], [""] * count
