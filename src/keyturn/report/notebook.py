"""HTML that a notebook cell shows for an audit: the card of the verdict and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Json, from_json_number
from keyturn.core.numbers import counted, number
from keyturn.core.text import one_line
from keyturn.report import summary
from keyturn.report.page import environment

TONES = {
    "deployed": "#2f7fd0",
    "created": "#d0651b",
    "mixed": "#9066cc",
    "narrowed": "#cf4a72",
    "quiet": "#808080",
    "caution": "#b07a00",
}
"""Class of a label -> a colour that is readable on white and on black, since a notebook may have either."""

NAME = 80
"""Maximum number of characters of the policies' and the problems' names."""


def notebook_html(result: AuditResult) -> str:
    """The audit as a fragment of HTML; text of models, prompts and names is escaped in it."""
    table, apart = summary.page_tables([result])
    more = [f"{counted(len(one.rows), 'cell')} have verdicts of their own: see .cells" for one in apart]
    if result.left_out:
        more.append(f"Left out, for reasons in .left_out: {', '.join(result.left_out)}")
    template = environment().get_template("notebook.html.jinja")
    return template.render(
        card=summary.card(result, "notebook"),
        tone=TONES[summary.SIGNS[result.verdict.label][0]],
        warn=TONES["caution"],
        k=result.verdict.k,
        table=table,
        standing=summary.standing(result.verdict),
        base=one_line(result.base, NAME),
        tuned=one_line(result.tuned, NAME),
        problems=one_line(result.problems, NAME),
        more=more,
    )


def training_html(
    method: str,
    curve: str,
    policies: Mapping[str, Path],
    rows: Sequence[Mapping[str, Json]],
    notes: Sequence[str],
) -> str:
    """A training as a fragment of HTML.

    Args:
        method: name of the method.
        curve: the history as text.
        policies: slot -> model folder.
        rows: the method's table: ``name``, ``value``, ``low``, ``high``.
        notes: one sentence each.
    """
    cells = [(one_line(str(row.get("name", "")), NAME), _value(row)) for row in rows]
    return (
        environment()
        .get_template("training.html.jinja")
        .render(
            method=one_line(method, NAME),
            curve=curve,
            policies=[(slot, str(folder)) for slot, folder in policies.items()],
            rows=cells,
            notes=notes,
            tone=TONES["quiet"],
            warn=TONES["caution"],
        )
    )


def _value(row: Mapping[str, Json]) -> str:
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    if isinstance(value, str | bool) or value is None:
        return str(value)
    text = number(from_json_number(value))
    if low is None or high is None:
        return text
    return f"{text} [{number(from_json_number(low))}, {number(from_json_number(high))}]"
