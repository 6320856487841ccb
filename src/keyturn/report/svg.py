"""SVG as text: escaped, finite, small. This module knows elements, not figures.

Colours are never written into a drawing: elements carry classes, and the page's style sheet gives them
their light, dark and printed colours.
"""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from keyturn.core.text import one_line

Point = tuple[float, float]
LETTER = 6.4
"""Mean width of a letter of a label, in user units, at size 12."""

_WIDTHS = {
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ&", 8.6),
    **dict.fromkeys("MWmw@%—…", 11.0),
    **dict.fromkeys("iljI.,:;|!' ()[]-ft/r", 4.2),
}
"""Letters whose width in sans-serif fonts is far from the mean."""


def width_of(words: str) -> float:
    """Approximate width of a label, in user units."""
    return sum(_WIDTHS.get(letter) or _wide(letter) for letter in words)


def _wide(letter: str) -> float:
    """Width of a letter; East Asian letters and pictographs are square."""
    return 12.5 if unicodedata.east_asian_width(letter) in "WF" else LETTER if letter.isalnum() else 7.5


def fit(words: str, width: float) -> str:
    """Text on one line within a width; a long one is cut in its middle, since names differ at their ends."""
    shown = one_line(words, 400)
    if width_of(shown) <= width:
        return shown
    kept = min(len(shown) - 1, int(width / 3.5) + 2)
    while kept > 2 and width_of(_middle_out(shown, kept)) > width:
        kept -= 1
    return _middle_out(shown, kept)


def clip(words: str, most: int) -> str:
    """Text on one line of at most ``most`` letters; a longer one is cut in its middle."""
    shown = one_line(words, 400)
    return shown if len(shown) <= most else _middle_out(shown, most - 1)


def _middle_out(words: str, kept: int) -> str:
    tail = kept // 2
    return f"{words[: kept - tail]}…{words[len(words) - tail :]}"


def element(tag: str, *children: Markup | str, **attributes: str | float) -> Markup:
    """One element. Underscores in attribute names become hyphens; ``class_`` is ``class``.

    Raises:
        ValueError: an attribute is not finite; a drawing never contains NaN.
    """
    parts = [tag]
    for name, value in attributes.items():
        shown = value if isinstance(value, str) else _short(value)
        parts.append(f'{name.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    inside = Markup("").join(
        child if isinstance(child, Markup) else escape(one_line(child)) for child in children
    )
    return Markup(f"<{' '.join(parts)}>{inside}</{tag}>")


def group(children: Iterable[Markup], class_: str = "") -> Markup:
    """Several elements as one."""
    return element("g", *children, class_=class_) if class_ else element("g", *children)


def line(a: Point, b: Point, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=a[0], y1=a[1], x2=b[0], y2=b[1], class_=class_)


def label(at: Point, words: str, class_: str = "tick", anchor: str = "start") -> Markup:
    """Text; ``anchor`` is start, middle or end."""
    return element("text", words, x=at[0], y=at[1], class_=class_, text_anchor=anchor)


def box(x: float, y: float, width: float, height: float, class_: str, title: str = "", rx: float = 0) -> Markup:
    """A rectangle; ``title`` is its tooltip."""
    told = (element("title", title),) if title else ()
    more = {"rx": rx} if rx else {}
    return element("rect", *told, x=x, y=y, width=max(width, 0), height=max(height, 0), class_=class_, **more)


def dot(at: Point, radius: float, class_: str, title: str = "") -> Markup:
    """A circle."""
    told = (element("title", title),) if title else ()
    return element("circle", *told, cx=at[0], cy=at[1], r=radius, class_=class_)


def polyline(points: Sequence[Point], class_: str) -> Markup:
    """A line through points, broken where one is not finite; an isolated point becomes a dot."""
    out = []
    for run in runs(points):
        if len(run) == 1:
            out.append(dot(run[0], 1.5, f"{class_} lone"))
        else:
            out.append(
                element("path", d="M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in run), class_=class_)
            )
    return Markup("").join(out)


def band(lower: Sequence[Point], upper: Sequence[Point], class_: str) -> Markup:
    """The area between two lines over the same x, broken where either is not finite."""
    both = [(a, b) for a, b in zip(lower, upper, strict=True)]
    out = []
    for finite, run in itertools.groupby(both, key=lambda pair: _finite(pair[0]) and _finite(pair[1])):
        if finite:
            pairs = list(run)
            ring = [a for a, _ in pairs] + [b for _, b in reversed(pairs)]
            out.append(
                element(
                    "path", d="M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in ring) + "Z", class_=class_
                )
            )
    return Markup("").join(out)


def runs(points: Sequence[Point]) -> list[list[Point]]:
    """Stretches of finite points."""
    grouped = itertools.groupby(points, key=_finite)
    return [list(run) for finite, run in grouped if finite]


def drawing(
    name: str, size: tuple[float, float], title: str, description: str, parts: Iterable[Markup]
) -> Markup:
    """A complete drawing with its title and description.

    Args:
        name: identifier that is unique in the page; never text from outside.
        size: width and height in user units.
        title: what it shows.
        description: its findings as text.
        parts: its elements.
    """
    return element(
        "svg",
        element("title", title, id=f"{name}-t"),
        element("desc", Markup(escape(one_line(description, 1200))), id=f"{name}-d"),
        *parts,
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
        viewBox=f"0 0 {_short(size[0])} {_short(size[1])}",
        width=size[0],
        height=size[1],
    )


def _finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _short(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"a drawing cannot contain {value}")
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown
