"""Terminal output: one sentence per audit, its warnings, its numbers, and a table that is valid Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from keyturn.auditing.result import AuditResult
from keyturn.core.text import one_line, visible
from keyturn.report import summary
from keyturn.report.tables import Table, markdown, without

STYLES = {
    "deployed": "bold blue",
    "created": "bold dark_orange3",
    "mixed": "bold magenta",
    "narrowed": "bold red",
    "caution": "bold yellow",
}
"""Class of a label -> rich style; the others are plain bold."""


DROPPED = ("problems", "undecided", "coverage", "at chance", "deployed", "base", "tuned", "created")
"""Columns that a narrow terminal omits, the least important first; the page and the file have all."""


def terminal(
    results: Sequence[AuditResult], *, report: Path | None = None, console: Console | None = None
) -> None:
    """Write the results of audits to a console.

    Args:
        results: the audits.
        report: path of the report, printed last.
        console: stdout by default. A terminal gets the columns that fit its width; a pipe or a file gets all.
    """
    out = console or Console(highlight=False)
    width = out.width if out.is_terminal else 0
    # Neither wrapped nor marked up, so that copied text is exactly the Markdown.
    out.print(renderable(results, report=report, width=width), soft_wrap=True)


def renderable(results: Sequence[AuditResult], *, report: Path | None = None, width: int = 0) -> Group:
    """The same as a rich object: sentences, warnings, deciding numbers, table, path of the report.

    Args:
        results: the audits.
        report: path of the report.
        width: maximum width of the table; 0 for no limit.
    """
    parts: list[Text] = []
    for result in results:
        parts += [_sentence(result), *_warnings(result), _facts(result), *_elicitation(result), Text()]
    whole = summary.table(results)
    shown = narrowed(whole, width)
    parts.append(_table(shown))
    if shown is not whole:
        left = ", ".join(name for name in whole.header if name not in shown.header)
        parts.append(Text(f"the terminal is too narrow for {left}; the report has them", style="dim"))
    if report is not None:
        parts += [Text(), Text.assemble(("report  ", "dim"), visible(str(report)))]
    return Group(*parts)


def markdown_table(results: Sequence[AuditResult]) -> str:
    """Pooled and per-cell verdicts as a Markdown table, ending in a newline."""
    return markdown(summary.table(results)) + "\n"


def narrowed(table: Table, width: int) -> Table:
    """The table with as many of its columns as fit into a width."""
    shown = table
    for name in DROPPED:
        if width <= 0 or len(markdown(shown).partition("\n")[0]) <= width:
            break
        if name in shown.header:
            shown = without(shown, name)
    return shown


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


def _warnings(result: AuditResult) -> list[Text]:
    """One line per caution, and what would decide an undecided verdict."""
    out = [
        Text.assemble(("  ! ", "bold yellow"), (one_line(c.kind, 40), "yellow"), ": ", visible(c.text))
        for c in summary.cautions(result)
    ]
    needed = result.verdict.needed
    return [*out, Text.assemble(("  needed ", "dim"), visible(needed))] if needed else out


def _elicitation(result: AuditResult) -> list[Text]:
    """What elicitation solves, where it was tried."""
    said = () if result.elicited is None else result.elicited.sentences
    return [Text.assemble(("  elicited ", "dim"), visible(one)) for one in said]


def _facts(result: AuditResult) -> Text:
    out = Text("  ")
    for fact in summary.facts(result):
        more = fact.more if fact.more.startswith("[") else f"({fact.more})"
        out.append(f"{fact.name} ", "dim").append(visible(fact.value)).append(f" {more}   ", "dim")
    out.rstrip()
    return out.append(f"\n  {summary.standing(result.verdict)}", "dim")


def _table(table: Table) -> Text:
    """Exactly the Markdown table; labels coloured by their class."""
    out = Text()
    place = table.header.index("verdict")
    for number, line in enumerate(markdown(table).splitlines()):
        row = Text(line + "\n", style="dim" if number == 1 else "bold" if number - 2 in table.marked else "")
        if number >= 2:
            label = table.rows[number - 2][place]
            class_ = next((look[0] for name, look in summary.SIGNS.items() if name == label), "")
            # Earlier cells hold text from outside, so the position is counted from the end.
            start = len(line) + 1 - sum(len(cell) + 3 for cell in _last(line, len(table.header) - place))
            row.stylize(STYLES.get(class_, ""), start, start + len(label))
        out.append_text(row)
    out.rstrip()
    return out


def _last(line: str, count: int) -> list[str]:
    """The last cells of a line of a Markdown table, with their padding."""
    return line.removesuffix(" |").split(" | ")[-count:]
