"""The terminal: one sentence an audit, the deciding numbers, and a table that pastes as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from keyturn.core.text import one_line, visible
from keyturn.report import summary
from keyturn.report.tables import markdown
from keyturn.studies.result import AuditResult

STYLES = {
    "deployed": "bold blue",
    "created": "bold dark_orange3",
    "mixed": "bold magenta",
    "narrowed": "bold red",
}
"""Class of a label -> rich style; the others are plain bold."""


def terminal(
    results: Sequence[AuditResult], *, report: Path | None = None, console: Console | None = None
) -> None:
    """Write what the audits found to a console.

    Args:
        results: the audits.
        report: where the report is, told last.
        console: stdout by default.
    """
    # Neither wrapped nor marked up: what stands on the screen is what pastes.
    (console or Console(highlight=False)).print(renderable(results, report=report), soft_wrap=True)


def renderable(results: Sequence[AuditResult], *, report: Path | None = None) -> Group:
    """The same for rich: sentences, deciding numbers, table, and where the report is."""
    parts: list[Text] = []
    for result in results:
        parts += [_sentence(result), _facts(result), Text()]
    parts.append(_table(results))
    if report is not None:
        parts += [Text(), Text.assemble(("report  ", "dim"), visible(str(report)))]
    return Group(*parts)


def markdown_table(results: Sequence[AuditResult]) -> str:
    """Pooled and per-cell verdicts as a Markdown table, ending in a newline."""
    return markdown(summary.table(results)) + "\n"


def _sentence(result: AuditResult) -> Text:
    class_, sign = summary.SIGNS[result.verdict.label]
    style = STYLES.get(class_, "bold")
    return Text.assemble(
        (f"{sign} ", style),
        (one_line(result.name, 60), "bold"),
        ": ",
        (result.verdict.label, style),
        f" at K = {result.verdict.k}. ",
        visible(result.verdict.why),
    )


def _facts(result: AuditResult) -> Text:
    out = Text("  ")
    for fact in summary.facts(result):
        out.append(f"{fact.name} ", "dim").append(visible(fact.value)).append(f" ({fact.more})   ", "dim")
    out.rstrip()
    return out.append(f"\n  {summary.standing(result.verdict)}", "dim")


def _table(results: Sequence[AuditResult]) -> Text:
    """Exactly the Markdown table; labels coloured by their class."""
    out = Text()
    table = summary.table(results)
    for number, line in enumerate(markdown_table(results).splitlines()):
        row = Text(line + "\n", style="dim" if number == 1 else "bold" if number - 2 in table.marked else "")
        if number >= 2:
            label = table.rows[number - 2][-1]
            class_ = next((look[0] for name, look in summary.SIGNS.items() if name == label), "")
            start = line.rstrip(" |").rfind(label)
            row.stylize(STYLES.get(class_, ""), start, start + len(label))
        out.append_text(row)
    out.rstrip()
    return out
