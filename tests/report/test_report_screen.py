"""The terminal: what stands on the screen is what pastes, and text from outside does nothing to it."""

import io

import pytest
from hostile_audit import hostile
from rich.console import Console

from keyturn.report import markdown_table, renderable, terminal
from keyturn.report.summary import SAID, SIGNS


def screen(results, width=200, colour=False):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, color_system="256" if colour else None)
    terminal(results, console=console, report="/runs/x/report.html")
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
    assert set(SAID) == set(SIGNS)
    assert len(renderable(audits).renderables) == 3 * len(audits) + 1
