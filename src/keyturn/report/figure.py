"""A figure: the drawing, one sentence on how to read it, and the same data as a table."""

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
        name: identifier that is unique in the page; never text from outside.
        title: what is shown, as a short phrase.
        says: the findings with their numbers, one or two sentences.
        reading: how to read it, one sentence.
        wide: the drawing.
        narrow: the same for a narrow page.
        table: the data behind it.
        full: whether it spans both columns of the page.
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
    """A figure one column wide. ``draw`` takes the drawing's name and its width."""
    return _drawn(name, title, says, reading, table, draw, False)


def full(
    name: str, title: str, says: str, reading: str, table: Table, draw: Callable[[str, float], Markup]
) -> Figure:
    """A figure as wide as the page."""
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
