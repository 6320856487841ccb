"""Where the gain came from: from the base's success to the tuned policy's, in deployed, created, undecided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.report.axes import Scale, unit
from keyturn.report.figure import Figure, full, half
from keyturn.report.numbers import estimate, number
from keyturn.report.rows import Rows, mark, segment, whisker
from keyturn.report.svg import drawing, element, line
from keyturn.report.tables import Table

PARTS = ("deployed", "created", "undecided")
NOTHING = Estimate(math.nan)


def mass(masses: Mapping[str, Estimate], name: str) -> Estimate:
    """One mass, undefined where the verdict does not hold it."""
    return masses.get(name, NOTHING)


def waterfall(name: str, masses: Mapping[str, Estimate], unit_name: str) -> Figure:
    """One verdict's masses as steps from base to tuned.

    Args:
        name: unique in the page.
        masses: of a verdict: ``base``, ``tuned``, ``deployed``, ``created``, ``undecided``.
        unit_name: what counted as success, ``"verified"`` or ``"answer"``.
    """
    keys = ("base", *PARTS, "tuned")
    shown = {key: estimate(mass(masses, key), signed=key in PARTS) for key in keys}
    table = Table(
        caption=f"Mean success ({unit_name}) and the masses of its gain, with 95 % intervals",
        header=("", "value", "low", "high"),
        rows=tuple((key, *_ends(mass(masses, key), signed=key in PARTS)) for key in keys),
    )
    says = f"Mean success goes from {shown['base']} to {shown['tuned']}: " + ", ".join(
        f"{part} {shown[part]}" for part in PARTS
    )

    def draw(drawn_name: str, width: float) -> Markup:
        rows = Rows(names=keys, values=tuple(shown[key] for key in keys), width=width)
        scale = unit(rows.frame.left, rows.frame.right)
        parts = [hatch(drawn_name), *rows.frame.x_axis(scale, f"mean success ({unit_name})", grid=True)]
        parts += rows.words([f"is-{key}" for key in keys])
        parts += _steps(masses, rows, scale, drawn_name)
        return drawing(drawn_name, (width, rows.height), "Where the gain came from", says, parts)

    return half(
        name,
        "Where the gain came from",
        says + ".",
        "Bars are mean success over all problems; each step adds what was gained on problems of one class, so "
        "the steps from base to tuned add up exactly. Thin lines are 95 % intervals over problems.",
        table,
        draw,
    )


def _steps(masses: Mapping[str, Estimate], rows: Rows, scale: Scale, drawn: str) -> Iterator[Markup]:
    base = mass(masses, "base")
    yield segment(scale, rows.y(0), 0.0, base.value, "fill-base", 11)
    yield from whisker(scale, rows.y(0), base)
    at = base.value
    for row, part in enumerate(PARTS, start=1):
        step = mass(masses, part)
        x = scale(at)
        if x == x:
            yield line((x, rows.y(row - 1)), (x, rows.y(row) + 5.5), "thread")
        yield painted(scale, rows.y(row), at, at + step.value, part, 11, drawn)
        yield from whisker(scale, rows.y(row), step, shift=at)
        at += step.value
    last = rows.y(len(PARTS) + 1)
    if scale(at) == scale(at):
        yield line((scale(at), rows.y(len(PARTS))), (scale(at), last + 5.5), "thread")
    tuned = mass(masses, "tuned")
    yield segment(scale, last, 0.0, tuned.value, "fill-tuned", 11)
    yield from whisker(scale, last, tuned, "whisker on-tuned")


def hatch(drawn: str) -> Markup:
    """The stripes of what was created: told apart without colour. Its id belongs to one drawing."""
    stripe = element("path", d="M0 0V6", class_="stripe")
    plain = element("rect", width=6, height=6, class_="fill-created")
    pattern = element(
        "pattern",
        plain,
        stripe,
        id=f"{drawn}-h",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    return element("defs", pattern)


def painted(scale: Scale, y: float, a: float, b: float, part: str, thick: float, drawn: str) -> Markup:
    """A stretch of gain in the look of its class: solid, striped, hollow."""
    x1, x2 = sorted((scale(a), scale(b)))
    if not (x1 == x1 and x2 == x2) or x2 - x1 < 0.3:
        return Markup()
    told = element("title", f"{part} {number(b - a, signed=True)}")
    where = {"x": x1, "y": y - thick / 2, "width": x2 - x1, "height": thick}
    if part == "created":
        return element("rect", told, fill=f"url(#{drawn}-h)", class_="edge-created", **where)
    return element("rect", told, class_=f"fill-{part}", **where)


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of the figure by cell."""

    name: str
    label: str
    problems: int
    masses: Mapping[str, Estimate]


def by_cell(name: str, rows: Sequence[CellRow], unit_name: str) -> Figure:
    """Base and tuned success of every cell, the way between painted by where the gain came from.

    Args:
        name: unique in the page.
        rows: the cells, in the order shown.
        unit_name: what counted as success.
    """
    table = Table(
        caption=f"Mean success ({unit_name}) and masses by cell, with 95 % intervals",
        header=("cell", "problems", "base", "tuned", "gain", *PARTS, "verdict"),
        rows=tuple(
            (
                row.name,
                str(row.problems),
                *(estimate(mass(row.masses, key)) for key in ("base", "tuned")),
                *(estimate(mass(row.masses, key), signed=True) for key in ("gain", *PARTS)),
                row.label,
            )
            for row in rows
        ),
        words=frozenset({0, 8}),
    )
    labels = sorted({row.label for row in rows})
    counted = ", ".join(f"{sum(r.label == one for r in rows)} {one}" for one in labels)

    def draw(drawn: str, width: float) -> Markup:
        layout = Rows(
            names=tuple(row.name for row in rows),
            values=tuple(row.label for row in rows),
            width=width,
            pitch=23,
        )
        scale = unit(layout.frame.left, layout.frame.right)
        parts = [hatch(drawn), *layout.frame.x_axis(scale, f"mean success ({unit_name})", grid=True)]
        parts += layout.words()
        for index, row in enumerate(rows):
            parts += _way(row, layout.y(index), scale, drawn)
        return drawing(drawn, (width, layout.height), "From base to tuned, cell by cell", f"{counted}.", parts)

    return full(
        name,
        "From base to tuned, cell by cell",
        f"{len(rows)} cells: {counted}.",
        "Hollow dot: the base; full dot: the tuned policy. Solid stretches were gained within the base's reach "
        "(deployed), striped ones beyond it (created), outlined ones on problems that the draws do not decide; "
        "a thin line below is a loss.",
        table,
        draw,
    )


def _way(row: CellRow, y: float, scale: Scale, drawn: str) -> Iterator[Markup]:
    base, tuned = mass(row.masses, "base").value, mass(row.masses, "tuned").value
    at = base
    for part in PARTS:
        size = mass(row.masses, part).value
        if size > 0:
            yield painted(scale, y, at, at + size, part, 7, drawn)
            at += size
    if at > tuned:
        yield segment(scale, y + 6, tuned, at, "fill-loss", 2.5, f"lost {number(at - tuned)}")
    told = f"base {number(base)}, tuned {number(tuned)}"
    yield mark(scale, y, base, "dot-base", told)
    yield mark(scale, y, tuned, "dot-tuned", told)


def _ends(found: Estimate, *, signed: bool) -> tuple[str, str, str]:
    return (
        number(found.value, digits=3, signed=signed),
        number(found.low, digits=3, signed=signed),
        number(found.high, digits=3, signed=signed),
    )
