"""Curves against a budget: success within k draws, and the created share against K."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.report.axes import Frame, Scale, end_labels, linear, logarithmic, unit, width_of
from keyturn.report.figure import Figure, half
from keyturn.report.numbers import estimate, number, whole
from keyturn.report.svg import band, dot, drawing, label, line, polyline
from keyturn.report.tables import Table

HEIGHT = 310.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve with its band.

    Args:
        name: as shown at its end, e.g. ``"base"``.
        look: class of the style sheet: ``"base"``, ``"tuned"``...
        k: budgets, ascending.
        value, low, high: at each budget; NaN where unknown.
        extrapolated: share of problems whose value comes from a posterior and not from draws, at each budget;
            empty: none.
    """

    name: str
    look: str
    k: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    extrapolated: tuple[float, ...] = ()

    @property
    def drawn(self) -> int:
        """How many budgets, from the smallest on, rest on draws alone."""
        return next((i for i, share in enumerate(self.extrapolated) if share > 0), len(self.k))


def pass_at_k(
    name: str, curves: Sequence[Curve], *, success: str, budget: int, crossing: Estimate | None
) -> Figure:
    """Success within k draws, one curve a policy.

    Args:
        name: unique in the page.
        curves: base and tuned, with simultaneous bands.
        success: ``"verified"`` or ``"answer"``.
        budget: the K of the verdict, marked.
        crossing: k at which base and tuned meet (infinite: they do not), or None where that is not known.
    """
    ks = sorted({k for curve in curves for k in curve.k})
    dotted = any(curve.drawn < len(curve.k) for curve in curves)
    table = Table(
        caption=f"pass@k ({success}), mean over problems, with simultaneous 95 % bands"
        + ("; *: partly from a posterior" if dotted else ""),
        header=("k", *(curve.name for curve in curves)),
        rows=tuple((whole(k), *(_at(curve, k) for curve in curves)) for k in ks),
        words=frozenset(),
    )
    says = "; ".join(_ends_of(curve) for curve in curves if curve.k) + "."

    def draw(drawn: str, width: float) -> Markup:
        frame = _frame(width, curves)
        x, y = logarithmic(ks, frame.left, frame.right), unit(frame.bottom, frame.top)
        parts = [*frame.y_axis(y, f"pass@k, {success}"), *frame.x_axis(x, "draws k (log scale)", digits=0)]
        parts += _budget(frame, x, budget)
        parts += [_band(curve, x, y) for curve in curves]
        parts += [mark for curve in curves for mark in _line(curve, x, y)]
        parts += _meeting(curves, crossing, x, y)
        parts += _names(curves, x, y, frame)
        return drawing(drawn, (width, HEIGHT), "Success within k draws", says, parts)

    return half(
        name,
        f"pass@k, {success}",
        says,
        "At each k: the chance that at least one of k draws succeeds, averaged over problems, with "
        "simultaneous "
        "95 % bands. A tuned curve that starts higher and ends lower has traded breadth for certainty."
        + (" Dotted: beyond some problems' own draws, from their posterior." if dotted else ""),
        table,
        draw,
    )


def difference(
    name: str, curve: Curve, null: Sequence[tuple[float, float, float]], *, success: str, budget: int
) -> Figure:
    """Tuned less base success within k draws.

    Args:
        name: unique in the page.
        curve: the difference, with its simultaneous band.
        null: ``(k, low, high)`` of two halves of the base.
        success: ``"verified"`` or ``"answer"``.
        budget: the K of the verdict.
    """
    table = Table(
        caption=f"pass@k of tuned less base ({success}), with simultaneous 95 % bands",
        header=("k", "tuned − base", "null, low", "null, high"),
        rows=tuple(
            (whole(k), _at(curve, k, signed=True), *(number(v, digits=3, signed=True) for v in ends))
            for k, *ends in null
        ),
        words=frozenset(),
    )
    ends = [(curve.k[i], curve.value[i]) for i in (0, -1)] if curve.k else []
    says = "; ".join(f"{number(v, signed=True)} at k = {whole(k)}" for k, v in ends) + "."

    def draw(drawn: str, width: float) -> Markup:
        frame = _frame(width, [])
        x = logarithmic(curve.k, frame.left, frame.right)
        seen = (*curve.low, *curve.high, *curve.value, *(v for _, *pair in null for v in pair))
        y = linear(seen, frame.bottom, frame.top, include=(0.0,))
        parts = [*frame.y_axis(y, "tuned less base"), *frame.x_axis(x, "draws k (log scale)", digits=0)]
        grey = [[(x(k), y(pair[i])) for k, *pair in null] for i in (0, 1)]
        parts += [band(grey[0], grey[1], "fill-null"), line((frame.left, y(0)), (frame.right, y(0)), "zero")]
        parts += [*_budget(frame, x, budget), _band(curve, x, y), *_line(curve, x, y)]
        return drawing(drawn, (width, HEIGHT), "Tuned less base, by k", says, parts)

    return half(
        name,
        "Tuned less base, by k",
        says,
        "Above the zero line the tuned policy is ahead at that many draws, below it the base is; grey: two "
        "halves of the base's own draws against each other. Band: simultaneous 95 %.",
        table,
        draw,
    )


def created_share(
    name: str,
    rows: Sequence[tuple[float, float, float, float]],
    *,
    budget: int,
    flips_at: float,
    said: str = "",
) -> Figure:
    """The created share of the gain against the budget that the base is granted.

    Args:
        name: unique in the page.
        rows: ``(k, share, low, high)``; NaN where the share is undefined.
        budget: the K of the verdict.
        flips_at: smallest k whose label differs from the one at K; NaN where none does.
    """
    table = Table(
        caption="Created share of the gain by budget K, with 95 % intervals",
        header=("K", "created share", "low", "high"),
        rows=tuple((whole(k), number(v), number(low), number(high)) for k, v, low, high in rows),
        words=frozenset(),
    )
    here = next((row for row in rows if row[0] == budget), None)
    found = Estimate(*here[1:]) if here else None
    says = f"At K = {budget} the created share is {estimate(found)}. "
    says += (
        f"The smallest budget of the curve at which the label would be another is K = {whole(flips_at)}."
        if math.isfinite(flips_at)
        else "The label is the same at every budget of the curve."
    )

    def draw(drawn: str, width: float) -> Markup:
        frame = _frame(width, [_of_rows(rows)])
        x = logarithmic([row[0] for row in rows], frame.left, frame.right)
        # A share leaves 0 to 1 where one class gained and another lost: then the axis follows it.
        beyond = [row[1] for row in rows if not -0.05 <= row[1] <= 1.05]
        y = linear(beyond, frame.bottom, frame.top, include=(0.0, 1.0))
        curve = _of_rows(rows)
        parts = [
            *frame.y_axis(y, "created share of the gain"),
            *frame.x_axis(x, "budget K (log scale)", digits=0),
        ]
        parts += _budget(frame, x, budget)
        parts += _flip(frame, x, flips_at, rows)
        parts += [_band(curve, x, y), *_line(curve, x, y), *_names([curve], x, y, frame)]
        return drawing(drawn, (width, HEIGHT), "Created share against the budget", says, parts)

    return half(
        name,
        "Created share against the budget",
        says,
        "What counts as created depends on how many draws the base is granted: at K = 1 nearly every gain "
        "looks created, at infinite K none is; a verdict to trust stays the same around its K. Band: 95 % over "
        "problems.",
        table,
        draw,
    )


def _of_rows(rows: Sequence[tuple[float, float, float, float]]) -> Curve:
    k, value, low, high = tuple(zip(*rows, strict=True)) if rows else ((), (), (), ())
    return Curve(name="created", look="created", k=k, value=value, low=low, high=high)


def _band(curve: Curve, x: Scale, y: Scale) -> Markup:
    lower = [(x(k), y(v)) for k, v in zip(curve.k, curve.low, strict=True)]
    upper = [(x(k), y(v)) for k, v in zip(curve.k, curve.high, strict=True)]
    return band(lower, upper, f"band band-{curve.look}")


def _line(curve: Curve, x: Scale, y: Scale) -> Iterator[Markup]:
    points = [(x(k), y(v)) for k, v in zip(curve.k, curve.value, strict=True)]
    yield polyline(points[: curve.drawn], f"line line-{curve.look}")
    yield polyline(
        points[max(curve.drawn - 1, 0) :] if curve.drawn < len(points) else [], f"line beyond line-{curve.look}"
    )
    for place, (k, value, point) in enumerate(zip(curve.k, curve.value, points, strict=True)):
        if math.isfinite(point[0]) and math.isfinite(point[1]):
            told = f"{curve.name}: k = {whole(k)}, {number(value, digits=3)}"
            yield dot(point, 2.8 if place < curve.drawn else 1.8, f"dot-{curve.look}", told)


def _frame(width: float, named: Sequence[Curve]) -> Frame:
    """Room at the right for the names of the curves, above the plot for notes."""
    room = max((width_of(curve.name) for curve in named), default=0.0)
    return Frame(left=40, right=width - room - 18, top=46, bottom=HEIGHT - 44, lift=30)


def _names(curves: Sequence[Curve], x: Scale, y: Scale, frame: Frame) -> Iterator[Markup]:
    ends = []
    for curve in curves:
        known = [(x(k), y(v)) for k, v in zip(curve.k, curve.value, strict=True) if math.isfinite(v)]
        if known:
            ends.append((known[-1], curve))
    yield from end_labels(
        [p for p, _ in ends], [c.name for _, c in ends], [f"is-{c.look}" for _, c in ends], frame
    )


def _budget(frame: Frame, x: Scale, budget: int) -> Iterator[Markup]:
    """The verdict's K as a quiet vertical line, where it lies within the axis."""
    if x.low <= budget <= x.high:
        at = x(budget)
        yield line((at, frame.top - 4), (at, frame.bottom), "budget")
        yield label((at, frame.top - 10), f"K = {budget}", "note", "middle" if at < frame.right - 12 else "end")


def _meeting(curves: Sequence[Curve], crossing: Estimate | None, x: Scale, y: Scale) -> Iterator[Markup]:
    """A ring where the curves meet."""
    if crossing is None or not math.isfinite(crossing.value) or not curves:
        return
    base = curves[0]
    height = _between(base, crossing.value)
    at = (x(crossing.value), y(height))
    if math.isfinite(at[0]) and math.isfinite(at[1]):
        yield dot(at, 8, "ring", f"the curves meet at k = {number(crossing.value, digits=1)}")
        yield label((at[0] + 9, at[1] + 22), f"k* = {number(crossing.value, digits=1)}", "note")


def _flip(
    frame: Frame, x: Scale, flips_at: float, rows: Sequence[tuple[float, float, float, float]]
) -> Iterator[Markup]:
    if not rows or not math.isfinite(flips_at):
        return
    at = x(flips_at)
    if math.isfinite(at):
        yield line((at, frame.top - 4), (at, frame.bottom), "flip")
        words = f"label flips at {whole(flips_at)}"
        left = at > (frame.left + frame.right) / 2
        yield label((at + (5 if left else -5), frame.top - 10), words, "note", "end" if left else "start")


def _between(curve: Curve, k: float) -> float:
    """The curve's height at a budget between two of its points, straight on the log scale."""
    pairs = [(math.log(b), v) for b, v in zip(curve.k, curve.value, strict=True) if b > 0 and math.isfinite(v)]
    if not pairs or k <= 0:
        return math.nan
    where = math.log(k)
    for (a, left), (b, right) in itertools.pairwise(pairs):
        if a <= where <= b:
            return left + (right - left) * (where - a) / (b - a)
    return pairs[0][1] if where < pairs[0][0] else pairs[-1][1]


def _at(curve: Curve, k: float, *, signed: bool = False) -> str:
    if k not in curve.k:
        return number(math.nan)
    i = curve.k.index(k)
    star = "*" if curve.extrapolated and curve.extrapolated[i] > 0 else ""
    return estimate(Estimate(curve.value[i], curve.low[i], curve.high[i]), digits=3, signed=signed) + star


def _ends_of(curve: Curve) -> str:
    return f"{curve.name}: {number(curve.value[0])} at k = {whole(curve.k[0])}, " + (
        f"{number(curve.value[-1])} at k = {whole(curve.k[-1])}"
    )
