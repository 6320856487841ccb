"""Where the gain came from: the steps from the base's success to the tuned policy's, by class of problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate, number, whole
from keyturn.report.axes import Scale, unit
from keyturn.report.figure import Figure, full, half
from keyturn.report.keys import SAMPLE, Key, keys, patch, spot
from keyturn.report.rows import Rows, mark, segment, whisker
from keyturn.report.svg import box, drawing, element, line
from keyturn.report.tables import Table

PARTS = ("deployed", "created", "at_chance", "undecided")
"""Masses that sum to the gain, as the verdict names them; ``at_chance`` only if chance is known."""
NOTHING = Estimate(math.nan)
MOST = 24
"""Maximum number of cells in a figure; of more cells those that moved most are drawn. The table has all."""


def mass(masses: Mapping[str, Estimate], name: str) -> Estimate:
    """One mass, undefined if the verdict lacks it."""
    return masses.get(name, NOTHING)


def parts_of(several: Iterable[Mapping[str, Estimate]]) -> tuple[str, ...]:
    """The parts of the gain that any of these verdicts has, in the order shown."""
    known = {part for masses in several for part in masses}
    return tuple(part for part in PARTS if part in known or part != "at_chance")


def words_of(part: str) -> str:
    """The displayed name of a part."""
    return part.replace("_", " ")


def waterfall(name: str, masses: Mapping[str, Estimate], unit_name: str) -> Figure:
    """One verdict's masses as steps from base to tuned.

    Args:
        name: identifier that is unique in the page.
        masses: masses of a verdict: ``base``, ``tuned``, ``deployed``, ``created``, ``undecided``.
        unit_name: what counted as success, ``"verified"`` or ``"answer"``.
    """
    parts = parts_of([masses])
    rows = ("base", *parts, "tuned")
    shown = {row: estimate(mass(masses, row), signed=row in parts) for row in rows}
    table = Table(
        caption=f"Mean success ({unit_name}) and the masses of its gain, with 95 % intervals",
        header=("", "value [95 % interval]"),
        rows=tuple((words_of(row), shown[row]) for row in rows),
    )
    says = f"Mean success goes from {shown['base']} to {shown['tuned']}: " + ", ".join(
        f"{words_of(part)} {shown[part]}" for part in parts
    )

    def draw(drawn_name: str, width: float) -> Markup:
        layout = Rows(names=tuple(map(words_of, rows)), values=tuple(shown.values()), width=width)
        scale = unit(layout.frame.left, layout.frame.right)
        axis = layout.frame.x_axis(scale, f"mean success ({unit_name})", grid=True)
        drawn = [hatch(drawn_name), *axis, *layout.words([f"is-{row}" for row in rows])]
        drawn += _steps(masses, parts, layout, scale, drawn_name)
        return drawing(drawn_name, (width, layout.height), "Where the gain came from", says, drawn)

    return half(
        name,
        "Where the gain came from",
        says + ".",
        "Bars are mean success over all problems. Each step adds the gain on problems of one class, so the "
        "steps from base to tuned add up exactly. Thin lines are 95 % intervals over problems."
        + (
            " At chance: the base solves these problems no more often than luck would; their gain never "
            "counts as deployed."
            if "at_chance" in parts
            else ""
        ),
        table,
        draw,
    )


def _steps(
    masses: Mapping[str, Estimate], parts: Sequence[str], rows: Rows, scale: Scale, drawn: str
) -> Iterator[Markup]:
    base = mass(masses, "base")
    yield segment(scale, rows.y(0), 0.0, base.value, "fill-base", 11)
    yield from whisker(scale, rows.y(0), base)
    at = base.value
    for row, part in enumerate(parts, start=1):
        step = mass(masses, part)
        x = scale(at)
        if x == x:
            yield line((x, rows.y(row - 1)), (x, rows.y(row) + 5.5), "thread")
        yield painted(scale, rows.y(row), at, at + step.value, part, 11, drawn)
        yield from whisker(scale, rows.y(row), step, shift=at)
        at += step.value
    last = rows.y(len(parts) + 1)
    if scale(at) == scale(at):
        yield line((scale(at), rows.y(len(parts))), (scale(at), last + 5.5), "thread")
    tuned = mass(masses, "tuned")
    yield segment(scale, last, 0.0, tuned.value, "fill-tuned", 11)
    yield from whisker(scale, last, tuned, "whisker on-tuned")


def hatch(drawn: str) -> Markup:
    """Patterns that tell the parts apart without colour: stripes for created, dots for at chance.

    Their ids belong to one drawing.
    """
    created = [
        element("rect", width=6, height=6, class_="fill-created"),
        element("path", d="M0 0V6", class_="stripe"),
    ]
    chance = [
        element("rect", width=4, height=4, class_="fill-chance"),
        element("circle", cx=2, cy=2, r=0.9, class_="speck"),
    ]
    return element(
        "defs",
        element(
            "pattern", *created, id=f"{drawn}-h", width=6, height=6,
            patternUnits="userSpaceOnUse", patternTransform="rotate(45)",
        ),
        element("pattern", *chance, id=f"{drawn}-c", width=4, height=4, patternUnits="userSpaceOnUse"),
    )  # fmt: skip


_PATTERNS = {"created": "h", "at_chance": "c"}


def painted(scale: Scale, y: float, a: float, b: float, part: str, thick: float, drawn: str) -> Markup:
    """A bar of gain in the pattern of its class: solid, striped, dotted or hollow."""
    x1, x2 = sorted((scale(a), scale(b)))
    if not (x1 == x1 and x2 == x2) or x2 - x1 < 0.3:
        return Markup()
    return _paint(x1, y, x2 - x1, thick, part, drawn, f"{words_of(part)} {number(b - a, signed=True)}")


def _paint(x: float, y: float, width: float, thick: float, part: str, drawn: str, title: str) -> Markup:
    pattern = _PATTERNS.get(part)
    if pattern is None:
        return box(x, y - thick / 2, width, thick, f"fill-{part}", title)
    told = element("title", title)
    where = {"x": x, "y": y - thick / 2, "width": width, "height": thick}
    return element("rect", told, fill=f"url(#{drawn}-{pattern})", class_=f"edge-{part}", **where)


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One row of the figure by cell."""

    name: str
    label: str
    problems: int
    masses: Mapping[str, Estimate]


def by_cell(name: str, rows: Sequence[CellRow], unit_name: str) -> Figure:
    """Base and tuned success of every cell; the bar between them shows where the gain came from.

    Args:
        name: identifier that is unique in the page.
        rows: the cells, in the order shown.
        unit_name: what counted as success.
    """
    parts = parts_of([row.masses for row in rows])
    table = Table(
        caption=f"Mean success ({unit_name}) and masses by cell, with 95 % intervals",
        header=("cell", "problems", "base", "tuned", "gain", *map(words_of, parts), "verdict"),
        rows=tuple(
            (
                row.name,
                whole(row.problems),
                *(estimate(mass(row.masses, key)) for key in ("base", "tuned")),
                *(estimate(mass(row.masses, key), signed=True) for key in ("gain", *parts)),
                row.label,
            )
            for row in rows
        ),
        words=frozenset({0, 5 + len(parts)}),
    )
    labels = sorted({row.label for row in rows})
    counted = ", ".join(f"{sum(r.label == one for r in rows)} {one}" for one in labels)
    chosen = _most_moved(rows)
    fewer = f" The {MOST} that moved most are drawn." if len(chosen) < len(rows) else ""

    def draw(drawn: str, width: float) -> Markup:
        shown, top = keys(_keys(chosen, parts, drawn), 2, width, 12)
        layout = Rows(
            names=tuple(row.name for row in chosen),
            values=tuple(row.label for row in chosen),
            width=width,
            pitch=23,
            top=top,
        )
        scale = unit(layout.frame.left, layout.frame.right)
        axis = layout.frame.x_axis(scale, f"mean success ({unit_name})", grid=True)
        marks = [hatch(drawn), *shown, *axis, *layout.words()]
        for index, row in enumerate(chosen):
            marks += _way(row, parts, layout.y(index), scale, drawn)
        return drawing(drawn, (width, layout.height), "From base to tuned, cell by cell", f"{counted}.", marks)

    return full(
        name,
        "From base to tuned, cell by cell",
        f"{len(rows)} cells: {counted}.{fewer}",
        "Hollow dot: the base; full dot: the tuned policy. The bar between them shows where the gain came "
        "from: deployed within the base's reach, created beyond it, undecided on problems that the draws do "
        "not decide. A thin line below is a loss.",
        table,
        draw,
    )


def _most_moved(rows: Sequence[CellRow]) -> list[CellRow]:
    """At most MOST cells, in the order given."""

    def size(row: CellRow) -> float:
        gain = abs(mass(row.masses, "gain").value)
        return gain if gain == gain else -1.0

    kept = {id(row) for row in sorted(rows, key=size, reverse=True)[:MOST]}
    return [row for row in rows if id(row) in kept]


def _keys(rows: Sequence[CellRow], parts: Sequence[str], drawn: str) -> list[Key]:
    """Keys of the parts that are drawn."""
    out = [Key(words="base", sample=spot("dot-base")), Key(words="tuned", sample=spot("dot-tuned"))]
    for part in parts:
        if any(mass(row.masses, part).value >= 0.005 for row in rows):

            def sample(x: float, y: float, part: str = part) -> Markup:
                return _paint(x, y, SAMPLE, 7, part, drawn, words_of(part))

            out.append(Key(words=words_of(part), sample=sample))
    if any(_lost(row, parts) >= 0.005 for row in rows):
        out.append(Key(words="lost", sample=patch("fill-loss", 2.5)))
    return out


def _lost(row: CellRow, parts: Sequence[str]) -> float:
    """How far the tuned policy is below the base plus the gains of the classes."""
    risen = sum(max(0.0, v) for part in parts if math.isfinite(v := mass(row.masses, part).value))
    return mass(row.masses, "base").value + risen - mass(row.masses, "tuned").value


def _way(row: CellRow, parts: Sequence[str], y: float, scale: Scale, drawn: str) -> Iterator[Markup]:
    base, tuned = mass(row.masses, "base").value, mass(row.masses, "tuned").value
    at = base
    for part in parts:
        size = mass(row.masses, part).value
        if size > 0:
            yield painted(scale, y, at, at + size, part, 7, drawn)
            at += size
    if at > tuned:
        yield segment(scale, y + 6, tuned, at, "fill-loss", 2.5, f"lost {number(at - tuned)}")
    told = f"base {number(base)}, tuned {number(tuned)}"
    yield mark(scale, y, base, "dot-base", told)
    yield mark(scale, y, tuned, "dot-tuned", told, 3.4)
