"""The page of a frontier: one HTML file like an audit's report, with a chart of gain against every cost."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from keyturn.auditing.frontier_result import FrontierResult
from keyturn.core import numbers
from keyturn.core.rundir import write_bytes
from keyturn.measures.frontier import COSTS, PLAIN, TUNED
from keyturn.report.figures.frontier import cost_figure
from keyturn.report.frontier_rows import READINGS, percent, way_table
from keyturn.report.page import asset, environment, policy, style_sheet, versions
from keyturn.report.tables import markdown


def write_frontier(results: Sequence[FrontierResult], path: Path, *, command: str, seconds: float) -> Path:
    """Write the page of one or several frontiers.

    Args:
        results: the frontiers, in the order shown.
        path: path of the HTML file; missing folders are made.
        command: the command that made it, to copy.
        seconds: wall time of the command.

    Returns:
        The absolute path of the file.

    Raises:
        StorageError: the file cannot be written.
    """
    path = Path(path).absolute()
    write_bytes(path, render_frontier(results, command=command, seconds=seconds).encode())
    return path


def render_frontier(results: Sequence[FrontierResult], *, command: str, seconds: float, made: str = "") -> str:
    """The page as text; arguments as for :func:`write_frontier`, and ``made``, the time that it shows."""
    style, script = style_sheet() + asset("frontier.css"), asset("shared.js", "style")
    return environment().get_template("frontier.html.jinja").render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        frontiers=[_frontier(one, f"f{place + 1}") for place, one in enumerate(results)],
        readings=READINGS,
        markdown="\n\n".join(markdown(way_table(one)) for one in results),
        command=command,
        seconds=numbers.seconds(seconds),
        versions=versions(),
        made=made or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )  # fmt: skip


def _frontier(result: FrontierResult, prefix: str) -> Mapping[str, Any]:
    """Everything that the template shows of one frontier."""
    figures, absent = [], list(_absent(result))
    for cost in COSTS:
        figure = cost_figure(f"{prefix}-{cost}", result, cost, large=cost == "generated")
        if figure is not None:
            figures.append(figure)
        else:
            absent.append((f"A chart of {COSTS[cost]}", _why_no_chart(result, cost)))
    return {
        "id": prefix,
        "result": result,
        "facts": _facts(result),
        "figures": figures,
        "table": way_table(result),
        "absent": absent,
        "told": [(one.name, result.told[one.name]) for one in result.frontier.points],
    }


def _facts(result: FrontierResult) -> list[tuple[str, str, str]]:
    """Name, value and interval of the deciding numbers."""
    frontier = result.frontier
    plain = frontier.point(PLAIN)
    found = [("plain base", *_parted(numbers.estimate(plain.success)))]
    if frontier.best_prompt != PLAIN:
        best = frontier.point(frontier.best_prompt)
        found.append((f"best prompt: {best.name}", *_parted(numbers.estimate(best.success))))
    if TUNED in frontier.names:
        found.append(("tuned", *_parted(numbers.estimate(frontier.point(TUNED).success))))
    best = result.cheapest
    if best is not None and not math.isnan(best.share.value):
        value, _, rest = percent(best.share).partition(" [")
        found.append((f"of the gain by {best.name}", value, f"[{rest}" if rest else ""))
    return found


def _parted(shown: str) -> tuple[str, str]:
    return numbers.parted(shown)


def _absent(result: FrontierResult) -> Sequence[tuple[str, str]]:
    return [(name, why) for name, why in result.left_out.items()]


def _why_no_chart(result: FrontierResult, cost: str) -> str:
    known = {one.costs[cost] for one in result.frontier.points if math.isfinite(one.costs[cost])}
    if not known:
        return "Nothing is known of this cost."
    [value] = known
    return f"It is {numbers.number(value, digits=0)} for every way of which it is known."
