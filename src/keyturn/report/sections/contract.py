"""A section of the report: a title, what it says, figures and tables, or why it is empty."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.auditing.result import AuditResult
from keyturn.core.numbers import counted
from keyturn.report.figure import Figure
from keyturn.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A family of numbers behind a summary: its table and how to read each name in it."""

    title: str
    table: Table
    readings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section.

    Args:
        id: unique in the page.
        title: as in the table of contents.
        says: sentences above the figures.
        figures: in the order shown; those of one column stand in pairs.
        more: figures behind a summary of their own.
        listings: long tables behind summaries.
        absent: why there is nothing, where there is nothing.
        folded: the whole section stands behind its title and its gist.
    """

    id: str
    title: str
    says: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    more: tuple[Figure, ...] = ()
    listings: tuple[Listing, ...] = ()
    absent: str = ""
    folded: bool = True

    @property
    def gist(self) -> str:
        """One sentence for the title of a folded section: what it says first."""
        if self.listings:
            rows = sum(len(one.table.rows) for one in self.listings)
            return f"{counted(rows, 'number')} with intervals and nulls."
        return next((words for words in (*self.says, *(f.says for f in self.figures)) if words), "")


def absence(result: AuditResult, measure: str, otherwise: str) -> str:
    """Why a section is empty: what the audit said of the measure, or else a sentence of the section's own."""
    why = result.left_out.get(measure)
    return f"Not computed: {measure} {why}." if why else otherwise
