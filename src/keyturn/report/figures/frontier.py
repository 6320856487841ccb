"""Gain against one cost: a mark for every way, the front, the tuned model and the best prompt as levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.auditing.frontier_result import FrontierResult
from keyturn.core.numbers import estimate, number
from keyturn.measures.frontier import COSTS, PLAIN, TUNED, Kind, Point
from keyturn.report.axes import Frame, Scale, linear
from keyturn.report.figure import Figure, full, half
from keyturn.report.frontier_rows import KINDS, cost_in_words, points_in_order
from keyturn.report.keys import SAMPLE, Key, keys
from keyturn.report.svg import dot, drawing, element, fit, label, line, polyline, width_of
from keyturn.report.tables import Table

PLOT = 250.0
"""Height of the plot itself."""
GUTTER = 34.0
"""Room at the left for ways that cost nothing, where the axis is logarithmic."""
DECADES, DOUBLINGS = 100.0, 8.0
"""Ratio of the largest to the smallest cost from which the axis counts in tens, and in twos."""
LINE = 14.0
"""Height that a name takes."""

Box = tuple[float, float, float, float]


def cost_figure(name: str, result: FrontierResult, cost: str, *, large: bool = False) -> Figure | None:
    """Gain of every way against one cost; None where all known costs are equal.

    Args:
        name: identifier that is unique in the page.
        result: the frontier.
        cost: one of :data:`~keyturn.measures.frontier.COSTS`.
        large: as wide as the page.
    """
    points = [one for one in points_in_order(result) if math.isfinite(one.costs[cost]) and one.kind != "null"]
    if len({one.costs[cost] for one in points}) < 2:
        return None
    title = f"Gain against {COSTS[cost].removesuffix(', on this machine')}"
    on = [one for one in sorted(points, key=lambda one: one.costs[cost]) if cost in one.on_front]
    told = [one.name for one in on if one.call in ("better", "reference")]
    alike = [one.name for one in on if one.name not in told]
    says = f"On the front: {', '.join(told) or 'no way that is told apart from the plain base'}."
    if alike:
        says += f" By the means alone also {', '.join(alike)}, not told apart from the plain base."
    missing = [one.name for one in result.frontier.points if math.isnan(one.costs[cost])]
    if missing:
        says += f" Not known for {', '.join(missing)}."

    def draw(drawn: str, width: float) -> Markup:
        plot = _Plot.of(result, points, cost, width)
        return drawing(drawn, (width, plot.frame.bottom + 40), title, says, plot.parts())

    reading = (
        "Height is success minus that of the plain base, with the interval of the paired difference. The "
        "stepped line is the front: nothing below and to the right of it is worth its cost here. In colour: "
        "surely better than both draws of the base."
    )
    return (full if large else half)(name, title, says, reading, _table(result, points, cost), draw)


def _table(result: FrontierResult, points: Sequence[Point], cost: str) -> Table:
    return Table(
        caption=f"{COSTS[cost]}, and gain in {result.unit}",
        header=("way", "cost", "gain", "counts as", "on the front in"),
        rows=tuple(
            (
                one.name,
                cost_in_words(result, one, cost),
                estimate(one.gain, signed=True),
                one.call,
                f"{number(100 * one.front[cost], digits=0)} %" if cost in one.front else "never",
            )
            for one in points
        ),
        words=frozenset({0, 3}),
    )


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """The cost axis: where a cost stands, and its ticks."""

    at: Callable[[float], float]
    ticks: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float], left: float, right: float) -> _Axis:
        some = [value for value in values if value > 0]
        ratio = max(some) / min(some) if some else 1.0
        base = 10.0 if ratio >= DECADES else 2.0 if ratio >= DOUBLINGS and min(some) >= 1 else 0.0
        if not base:
            scale = linear(values, left + 12, right - 12)
            return _Axis(at=scale, ticks=scale.ticks)
        free = any(value == 0 for value in values)
        low, high = (math.log(end, base) for end in (min(some), max(some)))
        start = left + (GUTTER if free else 12)
        scale = Scale(low=base**low, high=base**high, start=start, stop=right - 12, base=base)
        ticks = scale.ticks if len(scale.ticks) > 1 else (min(some), max(some))
        return _Axis(
            at=lambda value: left + 10 if value == 0 else scale(value),
            ticks=(*((0.0,) if free else ()), *ticks),
        )


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """One drawing of one cost."""

    result: FrontierResult
    points: Sequence[Point]
    cost: str
    width: float
    frame: Frame
    x: _Axis
    y: Scale
    shown: list[Markup]

    @staticmethod
    def of(result: FrontierResult, points: Sequence[Point], cost: str, width: float) -> _Plot:
        there = {one.kind for one in points}
        told = [Key(words=words, sample=_sample(kind)) for kind, words in KINDS.items() if kind in there]
        shown, top = keys(told, 0, width, 10)
        top += 20
        frame = Frame(left=38, right=width - 6, top=top, bottom=top + PLOT, lift=12)
        ends = [end for one in points for end in (one.gain.low, one.gain.high, one.gain.value)]
        y = linear([*ends, 0.0], frame.bottom, frame.top)
        x = _Axis.of([one.costs[cost] for one in points], frame.left, frame.right)
        return _Plot(result=result, points=points, cost=cost, width=width, frame=frame, x=x, y=y, shown=shown)

    def at(self, one: Point) -> tuple[float, float]:
        """Where a way stands."""
        return self.x.at(one.costs[self.cost]), self.y(one.gain.value)

    def parts(self) -> list[Markup]:
        """Everything of the drawing."""
        return [
            *self.shown,
            *self.frame.y_axis(self.y, "gain"),
            *self._cost_axis(),
            *self._levels(),
            *self._front(),
            *self._marks(),
            *self._names(),
        ]

    def _cost_axis(self) -> Iterator[Markup]:
        frame, end = self.frame, -math.inf
        yield line((frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
        for tick in self.x.ticks:
            words, at = _short(tick), self.x.at(tick)
            yield line((at, frame.bottom), (at, frame.bottom + 4), "axis")
            if at - width_of(words) / 2 > end + 6:
                yield label((at, frame.bottom + 17), words, "tick", "middle")
                end = at + width_of(words) / 2
        yield label((frame.right, frame.bottom + 35), fit(COSTS[self.cost], self.width - 8), "words", "end")

    def _levels(self) -> Iterator[Markup]:
        """Plain base, best prompt and tuned model as lines across the plot."""
        left, right = self.frame.left, self.frame.right
        yield line((left, self.y(0.0)), (right, self.y(0.0)), "zero")
        for _, at in self._known():
            yield line((left, at), (right, at), "budget")
        for words, at in self._level_names():
            yield label((right, at - 5), words, "note", "end")

    def _known(self) -> list[tuple[str, float]]:
        """Words and height of the levels that shares are counted between; per cents where the gap is sure."""
        frontier = self.result.frontier
        none, whole = ("0 %: ", "100 %: ") if frontier.gap.low > 0 else ("", "")
        named = [(f"{none}best prompt", frontier.best_prompt)] if frontier.best_prompt != PLAIN else []
        named += [(f"{whole}tuned", TUNED)] if TUNED in frontier.names else []
        return [(words, self.y(frontier.point(name).gain.value)) for words, name in named]

    def _level_names(self) -> list[tuple[str, float]]:
        """Names of the levels and their heights; levels that nearly meet have one name above both."""
        known = sorted(self._known(), key=lambda one: one[1])
        if len(known) == 2 and known[1][1] - known[0][1] < LINE:
            return [(f"{known[0][0]}, {known[1][0]}", known[0][1])]
        return known

    def _front(self) -> Iterator[Markup]:
        on = sorted((self.at(one) for one in self.points if self.cost in one.on_front), key=lambda p: p[0])
        steps: list[tuple[float, float]] = []
        for x, y in on:
            steps += [(x, steps[-1][1]), (x, y)] if steps else [(x, y)]
        if steps:
            yield polyline([*steps, (self.frame.right, steps[-1][1])], "line line-deployed")

    def _marks(self) -> Iterator[Markup]:
        for one in reversed(self.points):
            x, y = self.at(one)
            if math.isfinite(one.gain.low) and one.gain.low < one.gain.high:
                yield line((x, self.y(one.gain.low)), (x, self.y(one.gain.high)), "whisker faint")
            yield _mark(one.kind, x, y, _tip(self.result, one, self.cost), one.call)

    def _names(self) -> Iterator[Markup]:
        """Names beside marks, the important ones first, each only where it covers nothing."""
        taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in map(self.at, self.points)]
        right = self.frame.right
        taken += [(right - width_of(words), at - 16, right, at - 2) for words, at in self._level_names()]
        first = {PLAIN, TUNED, self.result.frontier.best_prompt}

        def rank(one: Point) -> tuple[bool, bool, bool, float]:
            return (
                one.name not in first,
                self.cost not in one.on_front,
                one.call != "better",
                -one.gain.value,
            )

        for one in sorted(self.points, key=rank):
            placed = self._placed(one, taken)
            if placed is not None:
                box, anchor, x, y = placed
                taken.append(box)
                yield label((x, y), one.name, "note", anchor)

    def _placed(self, one: Point, taken: Sequence[Box]) -> tuple[Box, str, float, float] | None:
        x, y = self.at(one)
        wide = width_of(one.name)
        tries = (
            ("start", x + 9, y + 4),
            ("end", x - 9, y + 4),
            ("middle", x, y - 9),
            ("middle", x, y + 17),
            ("start", x + 7, y - 7),
            ("start", x + 7, y + 14),
            ("end", x - 7, y - 7),
            ("end", x - 7, y + 14),
        )
        for anchor, at, height in tries:
            left = at if anchor == "start" else at - wide if anchor == "end" else at - wide / 2
            box = (left, height - 10, left + wide, height + 2)
            inside = box[0] >= self.frame.left and box[2] <= self.width and box[3] <= self.frame.bottom
            if inside and not any(_meet(box, other) for other in taken):
                return box, anchor, at, height
        return None


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _tip(result: FrontierResult, one: Point, cost: str) -> str:
    shown = f"{one.name}: gain {estimate(one.gain, signed=True)}, {cost_in_words(result, one, cost)}"
    return f"{shown} {COSTS[cost]}, {one.call}"


def _mark(kind: Kind, x: float, y: float, tip: str = "", call: str = "") -> Markup:
    """The mark of a kind of way: kinds differ by shape, colour says that a way is surely better, and a ceiling
    that is told the answers is hollow."""
    told = (element("title", tip),) if tip else ()
    better, ceiling = call == "better", call == "told the answers"
    fill = "dot-base" if ceiling else "fill-deployed" if better else "fill-plain"
    if kind == "tuned":
        return element("rect", *told, x=x - 5, y=y - 5, width=10, height=10, class_="fill-tuned")
    if kind == "training":
        return element("path", *told, d=_path((x, y - 6), (x + 6, y + 5), (x - 6, y + 5)), class_="fill-tuned")
    if kind == "prompt":
        return element("rect", *told, x=x - 4, y=y - 4, width=8, height=8, class_=fill)
    if kind == "control":
        corners = ((x, y - 5.5), (x + 5.5, y), (x, y + 5.5), (x - 5.5, y))
        return element("path", *told, d=_path(*corners), class_=fill if better else "dot-base")
    return dot((x, y), 5.0 if kind == "base" else 4.6, "dot-base" if kind == "base" else fill, tip)


def _path(*corners: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"


def _sample(kind: Kind) -> Callable[[float, float], Markup]:
    return lambda x, y: _mark(kind, x + SAMPLE - 6, y)


def _short(value: float) -> str:
    """A round number as a tick: 0.001, 0.5, 20, 5,000."""
    if value == 0:
        return "0"
    return number(value, digits=0) if value >= 10 or value == round(value) else f"{value:.2g}"
