"""A frontier as a table: a row for every way, with its gain, what that counts as, and every cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keyturn.auditing.frontier_result import FrontierResult
from keyturn.core.measurement import Estimate
from keyturn.core.numbers import UNDEFINED, estimate, number, whole
from keyturn.measures.frontier import COSTS, Kind, Point
from keyturn.report.tables import Table

KINDS: dict[Kind, str] = {
    "base": "the plain base",
    "null": "null: a second draw of the base",
    "prompt": "prompt",
    "elicitation": "elicitation",
    "control": "control",
    "training": "training",
    "tuned": "the reference model",
}
"""Kind of a way -> in words."""

SHORT = {
    "generated": "tokens",
    "seconds": "s an answer",
    "before": "s before",
    "examples": "answers used",
    "weights": "weights changed",
    "steered": "steered",
    "teacher_bits": "teacher bits",
}
"""Cost -> heading of its column."""

READINGS = {
    "gain": "Success minus that of the plain base, paired over problems.",
    "counts as": "better or worse only where simultaneous intervals over all ways exclude 0 against both draws "
    "of the base; told the answers: a ceiling that asks the grader, and no way to answer.",
    "of the gain": "Share of what lies between the plain base (0 %) and the tuned model (100 %); given only "
    "where that gain is surely above 0.",
    "recovered": "Share of what lies between the base with its best prompt (0 %) and the tuned model (100 %); "
    "given only where that gap is surely above 0.",
    "beyond its control": "Success minus that of the control which tells what a method does from what anything "
    "of its kind would do, paired.",
    "front": "Share of resamples of the problems in which it succeeds no less than the plain base, and no "
    "other way has at least its success for at most its tokens.",
    "tokens": "Tokens generated for one answer, discarded ones included.",
    "s an answer": "Wall seconds of one answer in large batches, on this machine.",
    "s before": "Wall seconds of training, or of what a method prepares.",
    "answers used": "Problems whose gold answers training or preparation used; none of them is judged.",
    "weights changed": "Numbers in the weights that differ from the base's.",
    "steered": "Share of an answer's tokens whose distribution a vector or a penalty changed.",
    "teacher bits": "Information from a teacher in one answer, in bits.",
}
"""Column -> how to read it."""


def points_in_order(result: FrontierResult) -> list[Point]:
    """Plain base, best prompt and tuned model first; then by success."""
    frontier = result.frontier
    first = ("plain", "plain again", frontier.best_prompt, "tuned")
    return sorted(
        frontier.points,
        key=lambda one: (first.index(one.name) if one.name in first else len(first), -one.success.value),
    )


def way_table(result: FrontierResult, *, costs: Sequence[str] = tuple(COSTS)) -> Table:
    """Every way of one frontier.

    Args:
        result: the frontier.
        costs: cost columns that are shown.
    """
    rows = []
    for one in points_in_order(result):
        name = f"{one.name} (best prompt)" if one.name == result.frontier.best_prompt else one.name
        beyond = next(iter(one.beyond.items()), None)
        often = one.front.get("generated", math.nan)
        rows.append(
            (
                name,
                one.kind,
                estimate(one.success),
                estimate(one.gain, signed=True) if one.kind != "base" else UNDEFINED,
                one.call,
                percent(one.share),
                percent(one.recovered),
                UNDEFINED if beyond is None else _over(*beyond),
                UNDEFINED if math.isnan(often) else f"{number(100 * often, digits=0)} %",
                *(cost_in_words(result, one, cost) for cost in costs),
            )
        )
    header = (
        "way",
        "kind",
        "success",
        "gain",
        "counts as",
        "of the gain",
        "recovered",
        "beyond its control",
        "front",
    )
    return Table(
        caption=f"{result.name}: {result.unit}, {result.frontier.problems} problems, {result.draws} draws each",
        header=(*header, *(SHORT[cost] for cost in costs)),
        rows=tuple(rows),
        words=frozenset({0, 1, 4, 7}),
        marked=frozenset(
            place for place, one in enumerate(points_in_order(result)) if one.kind in ("base", "tuned")
        ),
    )


def _over(control: str, found: Estimate) -> str:
    low, high = (number(end, signed=True) for end in (found.low, found.high))
    return f"{number(found.value, signed=True)} ({low} to {high}) over {control}"


def percent(found: Estimate) -> str:
    """``62 % [40, 85]``."""
    if math.isnan(found.value):
        return UNDEFINED
    value, low, high = (number(100 * end, digits=0) for end in (found.value, found.low, found.high))
    return f"{value} %" if found.low == found.high else f"{value} % [{low}, {high}]"


def cost_in_words(result: FrontierResult, one: Point, cost: str) -> str:
    """One cost of a way; an upper bound says so."""
    value = one.costs[cost]
    if math.isnan(value):
        return UNDEFINED
    if cost in ("weights", "examples"):
        shown = whole(value)
    elif cost == "steered":
        shown = f"{number(100 * value, digits=0)} %"
    else:
        shown = number(value, digits=1 if value >= 10 else 2, small=True)
    return f"\u2264 {shown}" if cost in result.told[one.name].at_most else shown
