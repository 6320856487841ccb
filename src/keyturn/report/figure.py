"""A figure: the drawing, how to read it in one sentence, and the same data as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.report.tables import Table

HALF, FULL, NARROW = 440.0, 920.0, 350.0
"""Widths of drawings in user units: one of two columns, both columns, a telephone."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Everything that a page shows of one figure.

    Args:
        name: unique in the page, of our own making.
        title: what is shown, as a short phrase.
        says: what is to be seen in it, with the numbers, one or two sentences.
        reading: how to read it, one sentence.
        wide: the drawing.
        narrow: the same for a narrow page.
        table: the data behind it.
        full: spans both columns of the page.
    """

    name: str
    title: str
    says: str
    reading: str
    wide: Markup
    narrow: Markup
    table: Table
    full: bool = False


def half(
    name: str, title: str, says: str, reading: str, table: Table, draw: Callable[[str, float], Markup]
) -> Figure:
    """A figure of one column. ``draw`` takes the drawing's name and its width."""
    return _drawn(name, title, says, reading, table, draw, False)


def full(
    name: str, title: str, says: str, reading: str, table: Table, draw: Callable[[str, float], Markup]
) -> Figure:
    """A figure across the page."""
    return _drawn(name, title, says, reading, table, draw, True)


def _drawn(
    name: str,
    title: str,
    says: str,
    reading: str,
    table: Table,
    draw: Callable[[str, float], Markup],
    across: bool,
) -> Figure:
    return Figure(
        name=name,
        title=title,
        says=says,
        reading=reading,
        wide=draw(name, FULL if across else HALF),
        narrow=draw(f"{name}-n", NARROW),
        table=table,
        full=across,
    )
