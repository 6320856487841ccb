"""Boxes with a question in them: how wide and how high they are, in user units of a drawing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keyturn.report.svg import Point, width_of

LINE = 15.5
"""From one line of a label to the next."""
PAD_X, PAD_Y = 11.0, 9.0
MARK = 13.0
"""What a mark of a fact takes, from centre to centre."""
MARKS_ROW = 17.0


@dataclass(frozen=True, kw_only=True)
class Box:
    """One label in its box.

    Args:
        id: of what it stands for.
        lines: the label, wrapped.
        marks: how many marks stand below the label.
        width, height: outer size.
    """

    id: str
    lines: tuple[str, ...]
    marks: int
    width: float
    height: float


def box_of(name: str, label: str, marks: int, width: float) -> Box:
    """A box of a given width around a label and a row of marks."""
    lines = wrap(label, width - 2 * PAD_X)
    height = 2 * PAD_Y + LINE * len(lines) + (MARKS_ROW if marks else 0)
    return Box(id=name, lines=lines, marks=marks, width=width, height=height)


def wrap(words: str, width: float) -> tuple[str, ...]:
    """Words in as few lines as hold them, the lines as even as that allows."""
    pieces = words.split()
    lines = _greedy(pieces, width)
    narrow = width
    while narrow > width / 2 and len(_greedy(pieces, narrow - 4)) == len(lines):
        narrow -= 4
    return tuple(_greedy(pieces, narrow))


def _greedy(pieces: Iterable[str], width: float) -> list[str]:
    lines: list[str] = []
    for piece in pieces:
        longer = f"{lines[-1]} {piece}" if lines else piece
        if lines and width_of(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def edge_point(box: Box, at: Point, towards: Point) -> Point:
    """Where the line from the middle of a box at ``at`` towards a point leaves the box."""
    dx, dy = towards[0] - at[0], towards[1] - at[1]
    if dx == dy == 0:
        return at
    across = box.width / 2 / abs(dx) if dx else float("inf")
    along = box.height / 2 / abs(dy) if dy else float("inf")
    share = min(across, along, 1.0)
    return at[0] + dx * share, at[1] + dy * share
