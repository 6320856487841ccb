"""Numbers in text and their forest plots; every one says which record it is from (``data-from``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.atlas.answers.phrases import shown
from keyturn.core import numbers
from keyturn.core.measurement import Estimate
from keyturn.report.axes import Scale, linear
from keyturn.report.svg import box, dot, drawing, label, line, width_of

DIGITS = 3
"""Decimals of a table's cells."""
WIDTH, NARROW = 720.0, 350.0
"""Of a drawing with room, and of one for a telephone."""
LEFT, RIGHT = 210.0, 210.0
"""Room for names and for numbers in words."""
ROW = 30.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a forest plot.

    Args:
        name: at the left.
        number: value and interval.
        kind: ``plain`` counts, ``hollow`` does not, ``pooled`` is the combined one.
    """

    name: str
    number: Estimate
    kind: str = "plain"


def measured(number: Estimate, name: str, records: Sequence[str], bound: float = math.nan) -> Markup:
    """A number of one record, or the combined number of several, in text.

    Args:
        number: value and interval.
        name: key of the number.
        records: ids of the records that it is made of.
        bound: what it is held against; an end close to it is shown with more digits.
    """
    origin = " ".join(f"record:{one}" for one in records)
    held = {} if math.isnan(bound) else {"data-bound": repr(bound)}
    more = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in held.items())
    return Markup('<span class="n" data-from="{}" data-number="{}"{}>{}</span>').format(
        origin, name, more, shown(number, bound)
    )


def quoted(text: str, quantity: str) -> Markup:
    """A number as the literature reports it, which no record of ours made."""
    return Markup('<span class="n" data-from="quantity:{}">{}</span>').format(quantity, text)


def bound(value: float, sign: str, reading: str) -> Markup:
    """The bound of a reading or of a claim, in text."""
    words = {">=": "at least", "<=": "at most", ">": "above", "<": "below"}[sign]
    return Markup('{} <span class="n" data-from="{}">{}</span>').format(words, reading, plain(value))


def counted(count: float, what: str) -> Markup:
    """A count over the whole atlas."""
    return Markup('<span class="n" data-count="{}">{}</span>').format(what, numbers.whole(count))


def plain(value: float) -> str:
    """A bound as it was written: no more digits than it has, and no zero before its point."""
    text = f"{abs(value):g}"
    return (numbers.MINUS if value < 0 else "") + (text[1:] if text.startswith("0.") else text)


def forest(
    name: str,
    rows: Sequence[Row],
    *,
    at: float,
    direction: int,
    title: str,
    unit: str,
    narrow: bool = False,
) -> Markup:
    """Intervals over one scale, with the bound that decides.

    Args:
        name: unique in the page.
        rows: from top to bottom.
        at: the bound.
        direction: +1 where numbers beyond it support, -1 where numbers below it do.
        title: of the drawing.
        unit: what the axis is.
        narrow: for a telephone: names and numbers stand above their lines.
    """
    width, start, stop, step, low = (
        (NARROW, 20.0, NARROW - 20, 44.0, 30.0) if narrow else (WIDTH, LEFT, WIDTH - RIGHT, ROW, 0.5 * ROW)
    )
    values = [end for row in rows for end in (row.number.value, row.number.low, row.number.high)]
    scale = linear([v for v in values if math.isfinite(v)], start, stop, include=(0.0, at))
    bottom = step * len(rows) + 14
    good = (scale(at), scale.stop) if direction > 0 else (scale.start, scale(at))
    parts = [box(good[0], 4, good[1] - good[0], bottom - 4, "band-good")]
    ticks = scale.ticks
    parts += [line((scale(t), 4), (scale(t), bottom), "zero" if t == 0 else "grid") for t in ticks]
    parts.append(line((scale(at), 0), (scale(at), bottom + 4), "bound"))
    for index, row in enumerate(rows):
        y = 4 + step * index + low
        words = y - 12 if narrow else y + 4
        parts += _interval(row, y, scale)
        parts.append(label((0.0, words), _fit(row.name), "value" if row.kind == "pooled" else "tick"))
        parts.append(label((width, words), shown(row.number, at), "value", "end"))
    parts += [label((scale(t), bottom + 18), plain(t), "tick", "middle") for t in ticks]
    parts.append(label((stop, bottom + 38), unit, "words", "end"))
    told = "; ".join(f"{row.name}: {shown(row.number, at)}" for row in rows)
    return drawing(name, (width, bottom + 44), title, f"{told}. The bound is {plain(at)}.", parts)


def _interval(row: Row, y: float, scale: Scale) -> list[Markup]:
    number = row.number
    if math.isnan(number.value):
        return []
    x = scale(number.value)
    if row.kind == "pooled":
        low = scale(number.low) if math.isfinite(number.low) else x
        high = scale(number.high) if math.isfinite(number.high) else x
        return [
            Markup(
                '<path class="dot-plain" d="M{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}Z"/>'
            ).format(min(low, x - 4), y, x, y - 6, max(high, x + 4), y, x, y + 6)
        ]
    parts = []
    if math.isfinite(number.low) and math.isfinite(number.high):
        parts.append(line((scale(number.low), y), (scale(number.high), y), "whisker"))
    parts.append(dot((x, y), 4.2, "dot-hollow" if row.kind == "hollow" else "dot-plain"))
    return parts


def _fit(words: str) -> str:
    while width_of(words) > LEFT - 14 and len(words) > 4:
        words = words[:-2].rstrip() + "…"
    return words
