"""The terminal: what stands on the screen is what pastes, and text from outside does nothing to it."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hostile_audit import hostile
from made_up_audit import with_verdict
from rich.console import Console

from keyturn.measures.verdict import Label
from keyturn.report import markdown_table, renderable, summary, terminal
from keyturn.report.screen import narrowed
from keyturn.report.summary import SAID, SIGNS


def screen(results, width=300, colour=False):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, color_system="256" if colour else None)
    terminal(results, console=console, report=Path("/runs/x/report.html"))
    return out.getvalue()


def test_sentence_numbers_and_table(audits):
    shown = screen(audits)
    for result in audits:
        assert f"{result.name}: {result.verdict.label} at K = {result.verdict.k}." in shown
        assert result.verdict.why in shown
    assert markdown_table(audits).strip() in shown
    assert "/runs/x/report.html" in shown


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_does_not_break_the_table(audits, width):
    assert markdown_table(audits).strip() in screen(audits, width=width)


def test_the_table_has_a_row_a_cell_and_one_pooled(audits):
    lines = markdown_table(audits).splitlines()
    assert len(lines) == 2 + sum(1 + len(a.cells) for a in audits)
    assert len({len(line) for line in lines}) == 1
    assert all(line.count(" | ") == 10 for line in lines)


def test_hostile_text_reaches_no_terminal(audits):
    shown = screen([hostile(a) for a in audits])
    for forbidden in "\x1b\x07\x00\u202e\u2066":
        assert forbidden not in shown
    assert "[bold]rich[/bold]" in shown, "markup of rich is shown, not obeyed"
    assert all(line.count("\n") == 0 for line in markdown_table([hostile(a) for a in audits]).splitlines())


def test_colour_is_ours_alone(audits):
    plain, coloured = screen(audits), screen(audits, colour=True)
    assert "\x1b[" not in plain
    assert "\x1b[" in coloured


def test_every_label_has_its_words_and_its_sign(audits):
    assert set(SAID) == set(SIGNS) == set(get_args(Label))
    assert len({sign for _, sign in SIGNS.values()}) == len(SIGNS), "told apart without colour"
    # Sentence, its one caution, numbers and an empty line for each audit; then the table.
    assert len(renderable(audits).renderables) == 4 * len(audits) + 1


def test_warnings_and_what_is_needed_stand_under_the_verdict(audits):
    needed = with_verdict(audits[0], needed="about 140 more problems", label="undecided")
    lines = screen([needed]).splitlines()
    assert lines[0].startswith("? graph: undecided at K = ")
    assert lines[1].startswith("  ! few problems: 30 problems")
    assert lines[2] == "  needed about 140 more problems"


def test_every_figure_of_the_table_has_its_interval(audits):
    for result in audits:
        for row in summary.table([result]).rows:
            numbers = [cell for cell in row[3:-2] if cell != "n/a"]
            assert len(numbers) >= 6
            assert all(cell.endswith("]") for cell in numbers), row


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_terminal_gets_the_columns_that_fit_it(audits, width):
    shown = screen(audits, width=width, colour=True)
    whole = summary.table(audits)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    rows = [line for line in plain.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(whole.rows)
    assert len(rows[0]) <= max(width, 76)
    assert "verdict" in rows[0]
    assert "gain" in rows[0]
    assert "the terminal is too narrow for" in plain
    assert narrowed(whole, 0) is whole
    assert narrowed(whole, 1000) is whole


def test_a_long_cell_name_keeps_its_ends_and_leaves_room(audits):
    very = "very " * 60
    named = [[replace(c, key={"topic": f"{very}{i}"}) for i, c in enumerate(a.cells)] for a in audits]
    long = [replace(a, cells=tuple(cells)) for a, cells in zip(audits, named, strict=True)]
    names = [row[1] for row in summary.table(long).rows]
    assert max(map(len, names)) <= summary.NAME
    assert len(set(names)) == 1 + max(len(a.cells) for a in audits), "they differ at their ends"
    narrow = narrowed(summary.table(long), 120)
    assert {"verdict", "gain"} <= set(narrow.header)


def test_the_label_is_coloured_where_it_stands(audits):
    coloured = screen(audits, colour=True)
    pooled = next(line for line in coloured.splitlines() if "| chain | all" in line)
    assert re.search(r"\x1b\[[0-9;]+mcreated\x1b", pooled)
