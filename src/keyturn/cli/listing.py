"""Listings of entries under headings, and rows of results as text.

A listing has one line for each entry. On a terminal a line is cut to its width; a pipe or file gets it whole.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from keyturn.core.measurement import from_json_number


def listing(groups: Mapping[str, Sequence[Sequence[str]]], *, footer: str) -> None:
    """Write groups of lines to stdout.

    On a terminal the last column is cut to the width that is left. Other columns are never cut.

    Args:
        groups: heading -> rows of cells; a group without rows is left out.
        footer: what to do next, one line.
    """
    columns = zip(*(row[:-1] for rows in groups.values() for row in rows), strict=True)
    widths = [max(map(len, column)) + 2 for column in columns]
    room = (
        max(shutil.get_terminal_size((80, 24)).columns - 2 - sum(widths), 12) if sys.stdout.isatty() else None
    )
    lines: list[str] = []
    for heading, rows in groups.items():
        found = ["  " + "".join(map(str.ljust, row[:-1], widths)) + _fitted(row[-1], room) for row in rows]
        if found:
            lines += [*([""] if lines else []), heading, *(line.rstrip() for line in found)]
    sys.stdout.write("\n".join([*lines, "", footer]) + "\n")


def _fitted(text: str, room: int | None) -> str:
    return text if room is None else textwrap.shorten(text, room, placeholder=" …")


def result_line(found: Mapping[str, Any]) -> str:
    """A row of a table of results, as one line of text."""
    name, value = found.get("name", ""), found.get("value")
    text = f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}"
    if found.get("low") is not None and found.get("high") is not None:
        text += f" [{from_json_number(found['low']):.3f}, {from_json_number(found['high']):.3f}]"
    rest = {k: v for k, v in found.items() if k not in ("name", "value", "low", "high") and v is not None}
    return text + ("  " + ", ".join(f"{k} {v}" for k, v in rest.items()) if rest else "")
