"""Curves against a budget: success within k draws, and the created share against K."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate, number, whole
from keyturn.report.axes import Frame, Scale, linear, logarithmic, unit
from keyturn.report.figure import Figure, half
from keyturn.report.figures.ranges import Stretch, strip
from keyturn.report.keys import ROW, Key, Note, keys, patch, place_notes, stroke
from keyturn.report.svg import band, dot, drawing, line, polyline
from keyturn.report.tables import Table

PLOT = 210.0
"""Height of the plot itself; keys and notes are above it."""
LEFT = 40.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve with its band.

    Args:
        name: name that is shown at its end, e.g. ``"base"``.
        look: class of the style sheet: ``"base"``, ``"tuned"``...
        k: budgets, ascending.
        value, low, high: value and band at each budget; NaN where unknown.
        extrapolated: at each budget, the share of problems whose value comes from a posterior and not from
            draws; empty if there is none.
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
        """Number of budgets, from the smallest on, whose value rests on draws alone."""
        return next((i for i, share in enumerate(self.extrapolated) if share > 0), len(self.k))


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Where base and tuned meet: ``k`` (infinite if they do not), and whether that is sure."""

    k: float
    sure: bool = False


def pass_at_k(
    name: str,
    curves: Sequence[Curve],
    *,
    success: str,
    budget: int,
    meeting: Meeting | None,
    stretches: Sequence[Stretch] = (),
    said: str = "",
) -> Figure:
    """Success within k draws, one curve per policy.

    Args:
        name: identifier that is unique in the page.
        curves: base and tuned, with simultaneous bands.
        success: ``"verified"`` or ``"answer"``.
        budget: the K of the verdict, which is marked.
        meeting: where base and tuned meet, or None if that is not known.
        stretches: budgets at which the tuned policy is surely above, unknown or surely below, shown as a strip
            under the plot.
        said: the stretches as a sentence.
    """
    curves = [curve for curve in curves if any(math.isfinite(v) for v in curve.value)]
    ks = sorted({k for curve in curves for k in curve.k})
    dotted = any(curve.drawn < len(curve.k) for curve in curves)
    table = Table(
        caption=f"pass@k ({success}), mean over problems, with simultaneous 95 % bands"
        + ("; *: partly from a posterior" if dotted else ""),
        header=("k", *(curve.name for curve in curves)),
        rows=tuple((whole(k), *(_at(curve, k) for curve in curves)) for k in ks),
        words=frozenset(),
    )
    says = said or ("; ".join(_ends_of(curve) for curve in curves) + "." if curves else "Nothing is known.")
    described = " ".join(dict.fromkeys([says, "; ".join(_ends_of(curve) for curve in curves)]))

    def draw(drawn: str, width: float) -> Markup:
        x = logarithmic(ks, LEFT, width - 12)
        noted = place_notes([*_budget(x, budget), *_met(meeting, x)], width)
        shown, frame = _frame(width, _keys(curves, dotted), noted.rows)
        y = unit(frame.bottom, frame.top)
        parts = [*shown, *frame.y_axis(y, f"pass@k, {success}")]
        parts += frame.x_axis(x, "draws k (log scale)", digits=0)
        parts += noted.drawn(frame.top, frame.bottom)
        parts += [_band(curve, x, y) for curve in curves]
        parts += [mark for curve in curves for mark in _line(curve, x, y)]
        parts += _ring(curves, meeting, x, y)
        under, height = strip(stretches, x, frame.bottom + 44, f"{drawn}-s")
        return drawing(
            drawn,
            (width, max(height, frame.bottom + 44)),
            "Success within k draws",
            described,
            [*parts, *under],
        )

    return half(
        name,
        f"pass@k, {success}",
        says,
        "At each k: the probability that at least one of k draws succeeds, averaged over problems, with "
        "simultaneous "
        "95 % bands. A tuned curve that starts higher and ends lower has traded breadth for certainty."
        + (" Dotted: more than some problems' own draws, from their posterior." if dotted else "")
        + (
            " The strip shows at which k the tuned policy is surely above or below the base."
            if stretches
            else ""
        ),
        table,
        draw,
    )


def difference(
    name: str, curve: Curve, null: Sequence[tuple[float, float, float]], *, success: str, budget: int
) -> Figure:
    """Success within k draws, tuned minus base.

    Args:
        name: identifier that is unique in the page.
        curve: the difference, with its simultaneous band.
        null: ``(k, low, high)`` of the difference between two halves of the base.
        success: ``"verified"`` or ``"answer"``.
        budget: the K of the verdict.
    """
    table = Table(
        caption=f"pass@k of tuned less base ({success}), with simultaneous 95 % bands",
        header=("k", "tuned less base", "null, low", "null, high"),
        rows=tuple(
            (whole(k), _at(curve, k, signed=True), *(number(v, signed=True) for v in ends)) for k, *ends in null
        ),
        words=frozenset(),
    )
    ends = [(curve.k[i], curve.value[i]) for i in (0, -1)] if curve.k else []
    says = "; ".join(f"{number(v, signed=True)} at k = {whole(k)}" for k, v in ends) + "."
    entries = [
        Key(words="tuned less base", sample=stroke("tuned")),
        Key(words="two halves of the base", sample=patch("fill-null")),
    ]

    def draw(drawn: str, width: float) -> Markup:
        x = logarithmic(curve.k, LEFT, width - 12)
        noted = place_notes(_budget(x, budget), width)
        shown, frame = _frame(width, entries, noted.rows)
        seen = (*curve.low, *curve.high, *curve.value, *(v for _, *pair in null for v in pair))
        y = linear(seen, frame.bottom, frame.top, include=(0.0,))
        parts = [*shown, *frame.y_axis(y, f"difference of pass@k, {success}")]
        parts += frame.x_axis(x, "draws k (log scale)", digits=0)
        grey = [[(x(k), y(pair[i])) for k, *pair in null] for i in (0, 1)]
        parts += [band(grey[0], grey[1], "fill-null"), line((frame.left, y(0)), (frame.right, y(0)), "zero")]
        parts += noted.drawn(frame.top, frame.bottom)
        parts += [_band(curve, x, y), *_line(curve, x, y)]
        return drawing(drawn, (width, frame.bottom + 44), "Tuned less base, by k", says, parts)

    return half(
        name,
        "Tuned less base, by k",
        says,
        "Above the zero line the tuned policy is ahead at that many draws, below it the base is. Grey: two "
        "halves of the base's own draws compared with each other. Band: simultaneous 95 %.",
        table,
        draw,
    )


def created_share(
    name: str,
    rows: Sequence[tuple[float, float, float, float]],
    *,
    budget: int,
    flips_at: float,
) -> Figure:
    """The created share of the gain against the budget that the base has.

    Args:
        name: identifier that is unique in the page.
        rows: ``(k, share, low, high)``; NaN where the share is undefined.
        budget: the K of the verdict.
        flips_at: smallest k whose label differs from the one at K; NaN if none does.
    """
    table = Table(
        caption="Created share of the gain by budget K, with 95 % intervals",
        header=("K", "created share"),
        rows=tuple((whole(k), estimate(Estimate(*found))) for k, *found in rows),
        words=frozenset(),
    )
    here = next((row for row in rows if row[0] == budget), None)
    found = Estimate(*here[1:]) if here else None
    says = f"At K = {budget} the created share is {estimate(found)}. "
    says += (
        f"The smallest budget of the curve at which the label would differ is K = {whole(flips_at)}."
        if math.isfinite(flips_at)
        else "The label is the same at every budget of the curve."
    )

    def draw(drawn: str, width: float) -> Markup:
        x = logarithmic([row[0] for row in rows], LEFT, width - 12)
        noted = place_notes([*_budget(x, budget), *_flip(x, flips_at, rows)], width)
        shown, frame = _frame(width, (), noted.rows)
        # If one class gained and another lost, a share lies outside of 0 to 1, and the axis is extended.
        beyond = [row[1] for row in rows if not -0.05 <= row[1] <= 1.05]
        y = linear(beyond, frame.bottom, frame.top, include=(0.0, 1.0))
        curve = _of_rows(rows)
        parts = [*shown, *frame.y_axis(y, "created share of the gain")]
        parts += frame.x_axis(x, "budget K (log scale)", digits=0)
        parts += noted.drawn(frame.top, frame.bottom)
        parts += [_band(curve, x, y), *_line(curve, x, y)]
        return drawing(drawn, (width, frame.bottom + 44), "Created share against the budget", says, parts)

    return half(
        name,
        "Created share against the budget",
        says,
        "What counts as created depends on how many draws the base has: at K = 1 nearly every gain "
        "looks created, at infinite K none is. A robust verdict stays the same around its K. Band: 95 % over "
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
    # Overlapping greys look alike, so the edges of a band repeat the dashes of its curve.
    edges = polyline(lower, f"edge edge-{curve.look}") + polyline(upper, f"edge edge-{curve.look}")
    return band(lower, upper, f"band band-{curve.look}") + edges


def _line(curve: Curve, x: Scale, y: Scale) -> Iterator[Markup]:
    points = [(x(k), y(v)) for k, v in zip(curve.k, curve.value, strict=True)]
    yield polyline(points[: curve.drawn], f"line line-{curve.look}")
    yield polyline(
        points[max(curve.drawn - 1, 0) :] if curve.drawn < len(points) else [], f"line beyond line-{curve.look}"
    )
    for place, (k, value, point) in enumerate(zip(curve.k, curve.value, points, strict=True)):
        if math.isfinite(point[0]) and math.isfinite(point[1]):
            told = f"{curve.name}: k = {whole(k)}, {number(value)}"
            yield dot(point, 2.8 if place < curve.drawn else 1.8, f"dot-{curve.look}", told)


def _keys(curves: Sequence[Curve], dotted: bool) -> list[Key]:
    found = [Key(words=curve.name, sample=stroke(curve.look)) for curve in curves]
    beyond = Key(words="beyond the draws", sample=stroke("base beyond", marked=False))
    return [*found, beyond] if dotted else found


def _frame(width: float, entries: Sequence[Key], rows: int) -> tuple[list[Markup], Frame]:
    """Keys, and the plot below the title of its axis, the keys and the rows of notes."""
    shown, below = keys(entries, 0, width, 32)
    top = (below if entries else 24) + ROW * rows + (4 if rows else 0)
    return shown, Frame(left=LEFT, right=width - 12, top=top, bottom=top + PLOT, lift=top - 12)


def _budget(x: Scale, budget: int) -> list[Note]:
    """The verdict's K as a thin vertical line, if it lies within the axis."""
    return [Note(x=x(budget), words=f"K = {budget}")] if x.low <= budget <= x.high else []


def _met(meeting: Meeting | None, x: Scale) -> list[Note]:
    if meeting is None or not x.low <= meeting.k <= x.high:
        return []
    sure = "" if meeting.sure else ", not for sure"
    return [
        Note(x=x(meeting.k), words=f"the curves meet at {number(meeting.k, digits=1)}{sure}", class_="meet")
    ]


def _ring(curves: Sequence[Curve], meeting: Meeting | None, x: Scale, y: Scale) -> Iterator[Markup]:
    """A ring where the curves meet."""
    if meeting is None or not math.isfinite(meeting.k) or not curves:
        return
    at = (x(meeting.k), y(_between(curves[0], meeting.k)))
    if math.isfinite(at[0]) and math.isfinite(at[1]):
        yield dot(at, 8, "ring", f"the curves meet at k = {number(meeting.k, digits=1)}")


def _flip(x: Scale, flips_at: float, rows: Sequence[tuple[float, float, float, float]]) -> list[Note]:
    if not rows or not math.isfinite(flips_at) or not math.isfinite(x(flips_at)):
        return []
    return [Note(x=x(flips_at), words=f"label changes at K = {whole(flips_at)}", class_="flip")]


def _between(curve: Curve, k: float) -> float:
    """The curve's height at a budget between two of its points, interpolated linearly on the log scale."""
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
    return estimate(Estimate(curve.value[i], curve.low[i], curve.high[i]), signed=signed) + star


def _ends_of(curve: Curve) -> str:
    return f"{curve.name}: {number(curve.value[0])} at k = {whole(curve.k[0])}, " + (
        f"{number(curve.value[-1])} at k = {whole(curve.k[-1])}"
    )
