"""Line plots: the course of training, and the share of weights within a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from keyturn.core.numbers import number, scientific, whole
from keyturn.report.axes import Frame, Scale, apart, linear, logarithmic, unit
from keyturn.report.figure import Figure, half
from keyturn.report.keys import Key, keys, stroke
from keyturn.report.svg import drawing, label, line, polyline
from keyturn.report.tables import Table

PLOT = 170.0
"""Height of the plot itself; keys are above it."""
ROWS = 60
"""Maximum number of rows of a table of steps; of more steps an evenly spaced choice is shown."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One named line.

    Args:
        name: name that is shown at its end.
        look: class of the style sheet.
        x, y: coordinates of equal number; NaN breaks the line.
    """

    name: str
    look: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Texts and axes of a line plot."""

    title: str
    x_words: str
    y_words: str
    reading: str
    shares: bool = False
    """Whether the y axis goes from 0 to 1."""
    base: float = 0.0
    """Base of a logarithmic x axis; 0 for a linear one."""
    smooth: bool = False
    """Draw a running mean over the raw line, which is shown faintly behind it."""


def lines(name: str, series: Sequence[Series], plot: Plot) -> Figure:
    """One line per series, named at its right end."""
    xs = sorted({x for one in series for x in one.x if math.isfinite(x)})
    shown = xs if len(xs) <= ROWS else [xs[i] for i in np.linspace(0, len(xs) - 1, ROWS).round().astype(int)]
    table = Table(
        caption=f"{plot.y_words} by {plot.x_words}" + (f" ({ROWS} of {len(xs)})" if len(xs) > ROWS else ""),
        header=(plot.x_words, *(one.name for one in series)),
        rows=tuple((_x_name(x), *(number(_at(one, x)) for one in series)) for x in shown),
        words=frozenset(),
    )
    says = "; ".join(_ends(one) for one in series) + "."

    def draw(drawn: str, width: float) -> Markup:
        entries = [Key(words=one.name, sample=stroke(one.look, marked=False)) for one in series]
        shown, top = keys(entries if len(series) > 1 else (), 0, width, 32)
        top = max(top, 28)
        frame = Frame(left=40, right=width - 12, top=top, bottom=top + PLOT, lift=top - 12)
        x = logarithmic(xs, frame.left, frame.right, base=plot.base) if plot.base else _steps(xs, frame)
        y = _heights(series, frame, plot)
        parts = [*shown, *frame.y_axis(y, plot.y_words)]
        parts += frame.x_axis(x, plot.x_words) if not plot.base else _powers(frame, x, plot.x_words)
        for one in series:
            parts += _drawn(one, x, y, plot.smooth)
        return drawing(drawn, (width, frame.bottom + 44), plot.title, says, parts)

    return half(name, plot.title, says, plot.reading, table, draw)


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean over the ``window`` values around each place, fewer at the ends; NaN is left out."""
    raw = np.asarray(values, dtype=np.float64)
    known = np.isfinite(raw)
    half = window // 2
    # The sum over a window is a difference of cumulative sums; the window is cut off at both ends.
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, raw, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    places = np.arange(len(raw))
    left, right = np.maximum(places - half, 0), np.minimum(places + half + 1, len(raw))
    total, count = sums[right] - sums[left], counts[right] - counts[left]
    return [float(v) for v in np.divide(total, count, out=np.full(len(raw), np.nan), where=count > 0)]


def _drawn(one: Series, x: Scale, y: Scale, smooth: bool) -> list[Markup]:
    points = [(x(a), y(b)) for a, b in zip(one.x, one.y, strict=True)]
    if not smooth or len(points) < 20:
        return [polyline(points, f"line line-{one.look}")]
    mean = running_mean(one.y, max(3, 2 * (len(points) // 40) + 1))
    smoothed = [(a, y(m)) for (a, _), m in zip(points, mean, strict=True)]
    return [polyline(points, f"line raw line-{one.look}"), polyline(smoothed, f"line line-{one.look}")]


def _steps(xs: Sequence[float], frame: Frame) -> Scale:
    low, high = apart(xs[0], xs[-1]) if xs else (0.0, 1.0)
    return Scale(low=low, high=high, start=frame.left, stop=frame.right)


def _heights(series: Sequence[Series], frame: Frame, plot: Plot) -> Scale:
    if plot.shares:
        return unit(frame.bottom, frame.top)
    return linear([v for one in series for v in one.y], frame.bottom, frame.top, include=(0.0,))


def _powers(frame: Frame, x: Scale, words: str) -> list[Markup]:
    """An axis of powers of ten."""
    out = [line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")]
    for tick in x.ticks:
        out.append(line((x(tick), frame.bottom), (x(tick), frame.bottom + 4), "axis"))
        out.append(label((x(tick), frame.bottom + 17), _x_name(tick), "tick", "middle"))
    return [*out, label((frame.right, frame.bottom + 35), words, "words", "end")]


def _at(one: Series, x: float) -> float:
    return one.y[one.x.index(x)] if x in one.x else math.nan


def _ends(one: Series) -> str:
    known = [v for v in one.y if math.isfinite(v)]
    if not known:
        return f"{one.name}: {number(math.nan)}"
    return f"{one.name}: from {number(known[0])} to {number(known[-1])}"


def _x_name(x: float) -> str:
    if x == round(x):
        return whole(x)
    return scientific(x) if 0 < x < 0.01 else number(x, digits=3)
