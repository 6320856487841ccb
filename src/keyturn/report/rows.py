"""Rows of a figure: a name at the left, a value at the right, a plot between. If names and values leave too
little room for the plot, they are placed above their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import UNDEFINED
from keyturn.core.text import one_line
from keyturn.report.axes import Frame, Scale
from keyturn.report.svg import box, dot, element, fit, label, line, width_of

PLOT = 0.5
"""Minimum share of the width for the plot; below it names and values are placed above their rows."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Layout of rows.

    Args:
        names: one per row; a name that is too long is cut in its middle.
        values: shown at the right end of each row; empty strings for none.
        width: width of the drawing.
        pitch: height of a row.
        top: where the first row begins.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    width: float
    pitch: float = 25.0
    top: float = 10.0

    @property
    def above(self) -> bool:
        """Whether names and values are placed above their rows."""
        return self._name_width + self._value_width + 30 > (1 - PLOT) * self.width

    @property
    def _name_width(self) -> float:
        return max((width_of(one_line(name, 60)) for name in self.names), default=0.0)

    @property
    def _value_width(self) -> float:
        return max((width_of(v) for v in self.values), default=0.0)

    @property
    def step(self) -> float:
        """Distance from one row to the next."""
        return self.pitch + (15 if self.above else 0)

    @property
    def frame(self) -> Frame:
        """The plotting area."""
        if self.above:
            left, right = 8.0, self.width - 10
        else:
            left = self._name_width + 16
            right = self.width - (self._value_width + 16 if self._value_width else 10)
        bottom = self.top + self.step * max(len(self.names), 1)
        return Frame(left=left, right=right, top=self.top, bottom=bottom)

    @property
    def height(self) -> float:
        """Height of the drawing with its axis."""
        return self.frame.bottom + 42

    def y(self, row: int) -> float:
        """The middle of a row's plot."""
        return self.top + self.step * row + (15 if self.above else 0) + self.pitch / 2

    def words(self, classes: Sequence[str] = ()) -> Iterator[Markup]:
        """Names and values of all rows."""
        for row, (name, value) in enumerate(zip(self.names, self.values, strict=True)):
            class_ = f"row-name {classes[row] if classes else ''}".strip()
            height = self.y(row) - self.pitch / 2 - 1 if self.above else self.y(row) + 4
            if self.above:
                yield self._named(name, (2.0, height), self.width - width_of(value) - 16, class_, "start")
            else:
                yield self._named(name, (self.frame.left - 12, height), self.frame.left - 14, class_, "end")
            if value:
                quiet = " tick" if value == UNDEFINED else ""
                yield label((self.width - 2, height), value, f"value{quiet}", "end")

    def _named(self, name: str, at: tuple[float, float], room: float, class_: str, anchor: str) -> Markup:
        shown = fit(name, room)
        if shown == one_line(name, 400):
            return label(at, shown, class_, anchor)
        # A tooltip shows the whole name.
        told = element("title", one_line(name, 400))
        words = label(at, shown, class_, anchor)
        return element("g", told, words)


def whisker(
    scale: Scale, y: float, found: Estimate, class_: str = "whisker", shift: float = 0.0
) -> Iterator[Markup]:
    """The interval of an estimate as a line with ends; empty if there is none."""
    low, high = scale(found.low + shift), scale(found.high + shift)
    if low == low and high == high:
        yield line((low, y), (high, y), class_)
        yield line((low, y - 3), (low, y + 3), class_)
        yield line((high, y - 3), (high, y + 3), class_)


def segment(scale: Scale, y: float, a: float, b: float, class_: str, thick: float, title: str = "") -> Markup:
    """A bar between two values in either order; empty if one is undefined."""
    x1, x2 = sorted((scale(a), scale(b)))
    if not (x1 == x1 and x2 == x2):
        return Markup()
    return box(x1, y - thick / 2, max(x2 - x1, 0.6), thick, class_, title)


def mark(scale: Scale, y: float, value: float, class_: str, title: str = "", radius: float = 4.2) -> Markup:
    """A dot at a value; empty if it is undefined."""
    x = scale(value)
    return dot((x, y), radius, class_, title) if x == x else Markup()


def zero_line(scale: Scale, frame: Frame) -> Markup:
    """A vertical line at zero."""
    return line((scale(0.0), frame.top - 4), (scale(0.0), frame.bottom), "zero")
