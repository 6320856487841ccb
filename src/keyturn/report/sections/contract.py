"""A section of the report: a title, sentences, figures and tables, or the reason why it is empty."""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.auditing.result import AuditResult
from keyturn.core.numbers import counted
from keyturn.report.figure import Figure
from keyturn.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A family of numbers in a collapsed block: its table and how to read each name in it."""

    title: str
    table: Table
    readings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section.

    Args:
        id: identifier that is unique in the page.
        title: title, also in the table of contents.
        says: sentences above the figures.
        figures: figures in the order shown; those of one column are placed in pairs.
        more: figures in a collapsed block.
        listings: long tables in collapsed blocks.
        absent: why the section is empty, if it is.
        folded: whether the section is collapsed to its title and its gist.
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
        """One sentence for the title of a collapsed section: its first one."""
        if self.listings:
            rows = sum(len(one.table.rows) for one in self.listings)
            return f"{counted(rows, 'number')} with intervals and nulls."
        return next((words for words in (*self.says, *(f.says for f in self.figures)) if words), "")


def absence(result: AuditResult, measure: str, otherwise: str) -> str:
    """Why a section is empty: the audit's reason for leaving the measure out, or else the section's
    sentence."""
    why = result.left_out.get(measure)
    return f"Not computed: {measure} {why}." if why else otherwise
