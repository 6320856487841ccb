"""A table that is shown in three ways: HTML under a figure, Markdown to paste, text in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from keyturn.core.text import markdown_cell


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; text from outside is allowed, since every output escapes it.

    Args:
        caption: its content, with the unit.
        header: one name per column.
        rows: cells as text, each row as long as the header.
        words: columns with text, aligned left; the others hold numbers and are aligned right.
        head: whether the first column names its row (``<th scope="row">``).
        marked: highlighted rows (totals, pooled).
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})
    head: bool = True
    marked: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"table {self.caption!r}: a row of {len(row)} cells for {len(self.header)} columns"
                )

    @property
    def long(self) -> bool:
        """Too long to print on paper."""
        return len(self.rows) > 16


def without(table: Table, column: str) -> Table:
    """The table without one of its columns.

    Raises:
        ValueError: it has no such column.
    """
    gone = table.header.index(column)
    kept = [i for i in range(len(table.header)) if i != gone]
    return replace(
        table,
        header=tuple(table.header[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
        words=frozenset(new for new, old in enumerate(kept) if old in table.words),
    )


def markdown(table: Table) -> str:
    """A Markdown table whose columns are aligned as text too."""
    # Columns of numbers hold only text that we formatted, so brackets need no escape there.
    cells = [
        tuple(markdown_cell(cell) if i in table.words else cell for i, cell in enumerate(row))
        for row in (table.header, *table.rows)
    ]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.header))]
    rule = ["-" * width if i in table.words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(
        [_line(cells[0], widths, table), _join(rule), *(_line(r, widths, table) for r in cells[1:])]
    )


def _line(cells: Sequence[str], widths: Sequence[int], table: Table) -> str:
    return _join(
        cell.ljust(width) if i in table.words else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _join(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
