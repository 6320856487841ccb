"""The token view: every token once, as text, with its fill, its line and its exact value."""

import io
import re
import time
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reader import breaches
from rich.console import Console

from keyturn.auditing.result import TokenSpan
from keyturn.measures.verdict import Caution
from keyturn.report import terminal
from keyturn.report.page import render
from keyturn.report.token_view import (
    ENTROPY_STEPS,
    PAGE,
    SHIFT_STEPS,
    SHOWN,
    block,
    blocks,
    legend,
    level,
    pieces,
    share_of,
)


def span(texts, roles=None, entropy=None, shift=None):
    size = len(texts)
    return TokenSpan(
        title="t",
        problem="p",
        prompt="q",
        text=tuple(texts),
        role=tuple(roles or ["unknown"] * size),
        entropy=np.array(entropy if entropy is not None else [0.0] * size, dtype=np.float32),
        logprob=np.array(shift if shift is not None else [0.0] * size, dtype=np.float32),
        base_logprob=np.zeros(size, dtype=np.float32),
        outcome="wrong",
    )


def classes(made):
    return [set(found.split()) for found in re.findall(r'<bdi class="([^"]*)"', made.tokens)]


def test_fill_and_line_follow_entropy_shift_and_role():
    made = block(span(["a", " b", " c"], ["plan", "copy", "verify"], [0.01, 0.6, 3.0], [-3.0, 0.0, 0.7]), "s")
    assert classes(made) == [
        {"t", "e0", "s0", "r-plan"},
        {"t", "e3", "s3", "fork"},
        {"t", "e5", "s5", "r-verify", "fork"},
    ]
    assert made.table.rows[0] == ("0", "a", "plan", "0.010", "\u22123.000", "0.000", "\u22123.000")


def test_the_question_stands_apart_from_its_worked_examples():
    shown = "Question: one?\nAnswer: 1\n\nQuestion: two?\nAnswer: 2"
    made = block(replace(span(["a"]), prompt=f"{shown}\n\nQuestion: three?\nAnswer:"), "s")
    assert (made.before, made.prompt) == (shown, "Question: three?\nAnswer:")
    alone = block(replace(span(["a"]), prompt="A first line.\n\nWhat is asked?"), "s")
    assert (alone.before, alone.prompt) == ("", "A first line.\n\nWhat is asked?")


def test_roles_that_nobody_knows_are_not_named():
    made = block(span(["a", "b"]), "s")
    assert [row[2] for row in made.table.rows] == ["n/a", "n/a"]
    assert not made.has_roles
    assert block(span(["a", "b"], ["unknown", "plan"]), "s").has_roles
    assert block(replace(span(["a"]), sibling=span(["a"], ["plan"])), "s").has_roles


def test_what_is_not_known_has_no_fill():
    made = block(span(["a"], None, [np.nan], [np.nan]), "s")
    assert classes(made) == [{"t", "ex", "sx"}]
    assert made.table.rows[0][3:] == ("n/a", "n/a", "0.000", "n/a")


@pytest.mark.parametrize("steps", [ENTROPY_STEPS, SHIFT_STEPS])
def test_the_legend_names_every_fill_once(steps):
    rows = legend(steps)
    assert [step for step, _ in rows] == [level(v, steps) for v in (steps[0] - 1, *steps)]
    assert len({words for _, words in rows}) == len(rows)


@given(st.text(st.characters(codec=None), max_size=40))
def test_a_token_holds_its_text_and_nothing_that_acts(text):
    shown = pieces(text)
    assert not re.search(r"<(?!/?span)", shown)
    plain = unescape(re.sub(r"<[^>]*>", "", shown))
    for letter in text:
        if letter.isalnum() and letter.isascii():
            assert letter in plain
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain)


def test_a_line_break_is_seen_and_kept_and_nothing_is_shown_as_nothing():
    assert "\u23ce</span>\n" in pieces("a\nb")
    assert "\u2205" in pieces("")


def test_a_long_completion_is_cut_and_says_so():
    made = block(span(["x"] * (SHOWN + 7)), "s")
    assert made.cut == 7
    assert made.tokens.count("<bdi") == len(made.table.rows) == SHOWN


def test_names_are_unique_and_siblings_stand_beside(audits):
    made = blocks(audits[0].spans, "a1")
    names = [b.name for b in made] + [b.sibling.name for b in made if b.sibling]
    assert len(names) == len(set(names)) == 2 * len(made)


def test_a_page_has_room_for_so_many_tokens_and_shares_it_out(audits):
    short = span(["x"] * 3)
    few, many = replace(audits[0], spans=(short,)), replace(audits[0], spans=(short,) * 200)
    assert share_of([few]) == SHOWN
    assert share_of([many]) * 200 <= PAGE
    assert share_of([replace(audits[0], spans=(short,) * (2 * PAGE))]) == 1
    assert [b.cut for b in blocks((span(["x"] * 9),), "p", 4)] == [5]


ENDLESS = {
    "combining marks": "e" + "\u0301" * 100_000,
    "one line": "x" * 1_000_000,
    "escapes": "\x1b[" * 200_000,
    "surrogates": "\ud800" * 100_000,
    "nul": "\x00" * 100_000,
    "bidi": "\u202e" * 100_000,
    "zero width": "\u200b" * 100_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_text_without_end_is_cut_and_said_everywhere(audits, kind):
    text = ENDLESS[kind]
    made = span([text, "a"])
    result = replace(
        audits[0],
        name=text, base=text, problems=text, spans=(replace(made, prompt=text, title=text, problem=text),),
        cells=tuple(replace(c, key={text: text}) for c in audits[0].cells),
        cautions=(Caution(kind=text, text=text),), limits=(text,), settings={"both": {text: text}},
    )  # fmt: skip
    started = time.perf_counter()
    page = render([result], command="c", seconds=1.0)
    terminal([result], console=Console(file=io.StringIO()))
    assert time.perf_counter() - started < 10
    assert len(page.encode()) < 3_000_000
    assert breaches(page) == []
    shown = page[page.index("<body>") :]
    assert not re.search("[\x00\x1b\u200b\u202e\ud800-\udfff]", shown)
    assert "\u0301" * 9 not in shown
    assert "more characters" in shown or "combining marks" in shown
