"""Keys (the meaning of each look) and notes above a plot, placed so that none overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.report.svg import box, dot, fit, label, line, width_of

SAMPLE = 20.0
"""Width of the sample beside a key, in user units."""
ROW = 16.0
"""Distance from one row of keys or notes to the next."""
GAP = 14.0


@dataclass(frozen=True, kw_only=True)
class Key:
    """One look and its meaning. ``sample`` takes the left end and the middle height."""

    words: str
    sample: Callable[[float, float], Markup]


def keys(entries: Sequence[Key], left: float, right: float, top: float) -> tuple[list[Markup], float]:
    """Keys side by side, in as many rows as they need.

    Args:
        entries: keys in the order shown.
        left, right: horizontal limits.
        top: height of the middle of the first row.

    Returns:
        The drawn keys, and the height below them.
    """
    out: list[Markup] = []
    x, y = left, top
    for entry in entries:
        words = fit(entry.words, right - left - SAMPLE - 6)
        wide = SAMPLE + 6 + width_of(words)
        if x > left and x + wide > right:
            x, y = left, y + ROW
        out += [entry.sample(x, y), label((x + SAMPLE + 6, y + 4), words, "key")]
        x += wide + GAP
    return out, y + ROW + 4 if entries else top


def stroke(look: str, *, marked: bool = True) -> Callable[[float, float], Markup]:
    """Sample of a curve: its dashes and, if it has any, its marks."""

    def sample(x: float, y: float) -> Markup:
        drawn = line((x, y), (x + SAMPLE, y), f"line line-{look}")
        return drawn + dot((x + SAMPLE / 2, y), 2.8, f"dot-{look}") if marked else drawn

    return sample


def spot(class_: str) -> Callable[[float, float], Markup]:
    """Sample of a dot."""
    return lambda x, y: dot((x + SAMPLE - 5, y), 4.2, class_)


def patch(class_: str, thick: float = 9.0) -> Callable[[float, float], Markup]:
    """Sample of a bar."""
    return lambda x, y: box(x, y - thick / 2, SAMPLE, thick, class_)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A note above the plot at a position of the x axis, with a line that marks the position.

    Args:
        x: the position.
        words: the text.
        class_: class of the line.
    """

    x: float
    words: str
    class_: str = "budget"


@dataclass(frozen=True, kw_only=True)
class Notes:
    """Notes in rows: each as near to its position as possible, without overlap, all within the drawing."""

    placed: tuple[tuple[Note, float, int], ...]
    """Note, middle of its text, row (0 is next to the plot)."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max((row for *_, row in self.placed), default=-1) + 1

    def drawn(self, top: float, bottom: float) -> Iterator[Markup]:
        """Lines through the plot with their texts above it."""
        for note, middle, row in self.placed:
            yield line((note.x, top - 4), (note.x, bottom), note.class_)
            yield label((middle, top - 9 - ROW * row), note.words, "note", "middle")


def place_notes(notes: Sequence[Note], width: float) -> Notes:
    """Place notes from left to right, each in the lowest row that has room."""
    ends: list[float] = []
    placed = []
    for note in sorted(notes, key=lambda n: n.x):
        half = width_of(note.words) / 2
        middle = min(max(note.x, half), width - half)
        row = next((i for i, end in enumerate(ends) if middle - half >= end + 8), len(ends))
        ends[row : row + 1] = [middle + half]
        placed.append((note, middle, row))
    return Notes(placed=tuple(placed))
