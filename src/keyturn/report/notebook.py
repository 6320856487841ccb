"""An audit as a cell of a notebook shows it: the card of the verdict and its table, in plain HTML."""

from __future__ import annotations

from keyturn.auditing.result import AuditResult
from keyturn.core.numbers import counted
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
"""Class of a label -> a colour that reads on white and on black, since a notebook may be either."""

NAME = 80
"""Characters of the policies' and the problems' names."""


def notebook_html(result: AuditResult) -> str:
    """The audit as a fragment of HTML; text of models, prompts and names is inert in it."""
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
