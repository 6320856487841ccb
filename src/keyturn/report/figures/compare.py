"""Rows that compare: base against tuned, a change against zero, a value against its null."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate, number
from keyturn.report.axes import Scale, linear, unit
from keyturn.report.figure import Figure, half
from keyturn.report.keys import Key, keys, patch, spot
from keyturn.report.rows import Rows, mark, segment, whisker, zero_line
from keyturn.report.svg import drawing
from keyturn.report.tables import Table

NOTHING = Estimate(math.nan)
KEYS = 12.0
"""Height of the first row of keys."""
_PAIR = (Key(words="base", sample=spot("dot-base")), Key(words="tuned", sample=spot("dot-tuned")))


@dataclass(frozen=True, kw_only=True)
class BeforeAfter:
    """One row of :func:`before_and_after`."""

    name: str
    base: Estimate
    tuned: Estimate
    null: Estimate = NOTHING
    """Null of the tuned value; undefined if there is none."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of :func:`changes` and :func:`beside_null`."""

    name: str
    found: Estimate
    null: Estimate = NOTHING
    look: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Words:
    """Texts of a figure of rows: title, axis with unit, how to read it."""

    title: str
    axis: str
    reading: str
    says: str = ""
    digits: int = 2


def before_and_after(name: str, pairs: Sequence[BeforeAfter], words: Words, *, shares: bool = False) -> Figure:
    """Base and tuned value of each row on one axis.

    Args:
        name: unique in the page.
        pairs: the rows.
        words: texts of the figure.
        shares: the axis is 0 to 1.
    """
    table = Table(
        caption=f"{words.title}: {words.axis}, with 95 % intervals",
        header=("", "base", "tuned"),
        rows=tuple((p.name, *(estimate(e, digits=words.digits) for e in (p.base, p.tuned))) for p in pairs),
    )
    values = tuple(
        f"{number(p.base.value, digits=words.digits)} → {number(p.tuned.value, digits=words.digits)}"
        for p in pairs
    )

    def draw(drawn: str, width: float) -> Markup:
        shown, top = keys([*_PAIR, *_null_key(pairs)], 2, width, KEYS)
        rows = Rows(names=tuple(p.name for p in pairs), values=values, width=width, top=top)
        scale = _scale([e for p in pairs for e in (p.base, p.tuned, p.null)], rows, shares)
        parts = [*shown, *rows.frame.x_axis(scale, words.axis, grid=True), *rows.words()]
        for index, pair in enumerate(pairs):
            parts += _pair(pair, rows.y(index), scale, words.digits)
        return drawing(drawn, (width, rows.height), words.title, _described(pairs, values), parts)

    says = words.says or _moved_most(pairs, words.digits)
    return half(name, words.title, says, words.reading, table, draw)


def changes(name: str, bars: Sequence[Bar], words: Words) -> Figure:
    """Signed changes with their intervals, about zero."""
    table = _one_table(bars, words, signed=True)
    values = tuple(number(b.found.value, digits=words.digits, signed=True) for b in bars)

    def draw(drawn: str, width: float) -> Markup:
        shown, top = keys(_null_key(bars), 2, width, KEYS)
        rows = Rows(names=tuple(b.name for b in bars), values=values, width=width, top=top)
        scale = _scale([e for b in bars for e in (b.found, b.null)], rows, False, include=(0.0,))
        axis = rows.frame.x_axis(scale, words.axis, grid=True)
        parts = [*shown, *axis, zero_line(scale, rows.frame), *rows.words()]
        for index, bar in enumerate(bars):
            y = rows.y(index)
            parts.append(
                segment(scale, y, bar.null.low, bar.null.high, "fill-null", 18, "the null's 95 % range")
            )
            parts.append(segment(scale, y, 0.0, bar.found.value, f"fill-{bar.look}", 9))
            parts += whisker(scale, rows.y(index), bar.found)
        return drawing(drawn, (width, rows.height), words.title, _described(bars, values), parts)

    return half(name, words.title, words.says, words.reading, table, draw)


def beside_null(name: str, bars: Sequence[Bar], words: Words, *, shares: bool = False) -> Figure:
    """Values as dots, each with the 95 % range of its null as a grey bar behind it."""
    table = _one_table(bars, words)
    values = tuple(number(b.found.value, digits=words.digits) for b in bars)

    def draw(drawn: str, width: float) -> Markup:
        shown, top = keys(_null_key(bars), 2, width, KEYS)
        rows = Rows(names=tuple(b.name for b in bars), values=values, width=width, top=top)
        scale = _scale([e for b in bars for e in (b.found, b.null)], rows, shares)
        parts = [*shown, *rows.frame.x_axis(scale, words.axis, grid=True), *rows.words()]
        for index, bar in enumerate(bars):
            y = rows.y(index)
            parts.append(
                segment(scale, y, bar.null.low, bar.null.high, "fill-null", 12, "the null's 95 % range")
            )
            parts.append(_tick(scale, y, bar.null.value))
            parts += whisker(scale, y, bar.found)
            parts.append(mark(scale, y, bar.found.value, f"dot-{bar.look}"))
        return drawing(drawn, (width, rows.height), words.title, _described(bars, values), parts)

    return half(name, words.title, words.says or _beyond(bars), words.reading, table, draw)


def amounts(
    name: str, rows: Sequence[tuple[str, float]], words: Words, shown: Callable[[float], str]
) -> Figure:
    """Plain amounts as bars from zero, largest first."""
    ordered = sorted(rows, key=lambda row: -row[1] if math.isfinite(row[1]) else math.inf)
    values = tuple(shown(value) for _, value in ordered)
    table = Table(
        caption=f"{words.title}: {words.axis}",
        header=("", words.axis),
        rows=tuple((key, value) for (key, _), value in zip(ordered, values, strict=True)),
    )
    bars = [Bar(name=key, found=Estimate(value)) for key, value in ordered]

    def draw(drawn: str, width: float) -> Markup:
        layout = Rows(names=tuple(b.name for b in bars), values=values, width=width, pitch=22)
        scale = _scale([b.found for b in bars], layout, False, include=(0.0,))
        parts = [*layout.frame.x_axis(scale, words.axis, grid=True), *layout.words()]
        parts += [
            segment(scale, layout.y(i), 0.0, bar.found.value, "fill-plain", 9) for i, bar in enumerate(bars)
        ]
        return drawing(drawn, (width, layout.height), words.title, _described(bars, values), parts)

    return half(name, words.title, words.says, words.reading, table, draw)


def _null_key(rows: Sequence[BeforeAfter | Bar]) -> list[Key]:
    known = any(math.isfinite(row.null.low) and math.isfinite(row.null.high) for row in rows)
    return [Key(words="null, 95 % range", sample=patch("fill-null"))] if known else []


def _pair(pair: BeforeAfter, y: float, scale: Scale, digits: int) -> Iterator[Markup]:
    yield segment(scale, y, pair.null.low, pair.null.high, "fill-null", 12, "the null's 95 % range")
    yield segment(scale, y, pair.base.value, pair.tuned.value, "fill-way", 2)
    yield from whisker(scale, y + 7, pair.base, "whisker faint")
    yield from whisker(scale, y - 7, pair.tuned, "whisker faint")
    yield mark(scale, y, pair.base.value, "dot-base", f"base {estimate(pair.base, digits=digits)}")
    yield mark(scale, y, pair.tuned.value, "dot-tuned", f"tuned {estimate(pair.tuned, digits=digits)}")


def _tick(scale: Scale, y: float, value: float) -> Markup:
    return segment(scale, y, value, value, "fill-null-tick", 12)


def _scale(found: Sequence[Estimate], rows: Rows, shares: bool, include: Sequence[float] = ()) -> Scale:
    if shares:
        return unit(rows.frame.left, rows.frame.right)
    values = [v for e in found for v in (e.value, e.low, e.high)]
    return linear(values, rows.frame.left, rows.frame.right, include=include)


def _one_table(bars: Sequence[Bar], words: Words, *, signed: bool = False) -> Table:
    digits = words.digits
    return Table(
        caption=f"{words.title}: {words.axis}",
        header=("", "value [95 % interval]", "null", "null, 95 % range"),
        rows=tuple(
            (
                b.name,
                estimate(b.found, digits=digits, signed=signed),
                number(b.null.value, digits=digits),
                _range(b.null, digits),
            )
            for b in bars
        ),
    )


def _range(null: Estimate, digits: int) -> str:
    if math.isnan(null.low) or math.isnan(null.high):
        return number(math.nan)
    return f"{number(null.low, digits=digits)} to {number(null.high, digits=digits)}"


def _described(rows: Sequence[BeforeAfter | Bar], values: Sequence[str]) -> str:
    """Every row as text, for readers who do not see the drawing."""
    return "; ".join(f"{row.name}: {value}" for row, value in zip(rows, values, strict=True)) + "."


def _moved_most(pairs: Sequence[BeforeAfter], digits: int) -> str:
    known = [p for p in pairs if math.isfinite(p.base.value) and math.isfinite(p.tuned.value)]
    if not known:
        return "Nothing is known of these rows."
    most = max(known, key=lambda p: abs(p.tuned.value - p.base.value))
    before, after = (number(v, digits=digits) for v in (most.base.value, most.tuned.value))
    return f"The largest change: {most.name}, from {before} to {after}."


def _beyond(bars: Sequence[Bar]) -> str:
    known = [b for b in bars if math.isfinite(b.found.value) and math.isfinite(b.null.low + b.null.high)]
    if not known:
        return ""
    above = [b.name for b in known if b.found.value > b.null.high]
    below = [b.name for b in known if b.found.value < b.null.low]
    said = [
        f"{_names(names, len(known))} {'lies' if len(names) == 1 else 'lie'} {where} the null's range"
        for names, where in ((above, "above"), (below, "below"))
        if names
    ]
    return (" and ".join(said) if said else "Every value lies within its null's range") + "."


def _names(names: Sequence[str], of: int) -> str:
    if len(names) == of and of > 1:
        return "Both" if of == 2 else f"All {of}"
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} of {of} ({', '.join(names[:2])}...)"
