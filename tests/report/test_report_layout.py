"""What a reader finds, and where: verdict, warnings and set-up first, every number once in one form, the rest
folded; looks that differ without colour; no plot without anything in it."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from made_up_audit import lucky, with_verdict
from page_reader import Page, breaches

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate
from keyturn.measures.paired import Paired
from keyturn.measures.verdict import Caution, Label
from keyturn.report import summary
from keyturn.report.conditions import conditions
from keyturn.report.page import render, style_sheet
from keyturn.report.sections import sections_of
from keyturn.report.sections.before_after import _CYCLE

DATA = re.compile(r"^(dot-|fill-(?!null$)|line |edge-|stroke |end-|whisker|band )")
"""Classes of what is drawn for a number, not for an axis or a null."""


@pytest.fixture(scope="module")
def text(audits):
    needed = with_verdict(audits[0], needed="about 140 more problems such as these")
    return render([needed, audits[1]], command="c", seconds=1.0, made="now")


def body(text: str) -> str:
    return text[text.index("<body>") :]


def visible(page: str) -> str:
    """The text of a page without its style, its script and what is drawn."""
    return re.sub(r"<style>.*?</style>|<script>.*?</script>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.S)


def test_what_a_statistician_asks_comes_first(text, audits):
    shown = body(text)
    places = [
        shown.index(words) for words in ('class="why"', "To decide it:", 'class="cautions"', 'class="facts"')
    ]
    assert places == sorted(places), "verdict, what would decide it, warnings, numbers"
    numbers = shown.index('id="numbers"')
    for result in audits:
        for words in (*result.settings["both"].values(), result.base, result.tuned, result.problems):
            assert words in shown[:numbers]
        for who in ("base", "tuned"):
            assert result.settings[who]["fingerprint"] in shown[:numbers]
    assert shown.index("about 140 more problems such as these") < numbers
    assert "30 problems stand behind the verdict." in shown[:numbers]


def test_a_setting_that_both_share_is_said_once(audits):
    found = {one.name: one for one in conditions(audits[0])}
    assert found["prompt format"].both == "chat template"
    assert (found["fingerprint"].base, found["fingerprint"].tuned) == ("graph-4be1f0c2", "graph-99aa01c2")
    assert found["model"].base == audits[0].base
    assert len(found) == len(conditions(audits[0]))
    half = replace(audits[0], settings={"base": {"temperature": "1.0"}})
    assert next(c for c in conditions(half) if c.name == "temperature").tuned == "not known"


def test_the_cautions_of_a_verdict_are_shown_where_the_audit_adds_none(audits):
    warned = with_verdict(audits[0], cautions=(Caution(kind="copies", text="64 draws are one."),))
    assert summary.card(replace(warned, cautions=()), "a").cautions[0].kind == "copies"


def test_the_verdict_is_the_first_column_and_every_figure_has_its_interval(audits):
    main, apart = summary.page_tables(audits)
    assert main.header[:3] == ("", "verdict", "gain")
    assert not apart
    assert len(main.rows) == sum(1 + len(a.cells) for a in audits)
    for row in main.rows:
        assert row[1] in get_args(Label)
        assert all(cell == "n/a" or cell.endswith("]") for cell in row[2:-2]), row


def test_one_number_is_printed_one_way(text, audits):
    shown = " ".join(visible(body(text)).split())
    assert not re.search(r"\d%", shown), "a share is a decimal everywhere"
    assert set(re.findall(r"\d+ %", shown)) <= {"95 %"}
    for result in audits:
        masses, shares = result.verdict.masses, result.verdict.shares
        gain = estimate(masses["gain"], signed=True)
        assert shown.count(gain) >= 3, "card, sentence, table"
        for name in ("deployed", "created"):
            assert estimate(shares[name]) in shown
        for digits in (1, 3):
            for name, found in (*masses.items(), *shares.items()):
                if abs(found.value) > 0.01:
                    other = estimate(found, digits=digits, signed=name in ("gain", "deployed", "created"))
                    assert other not in shown.partition("Everything measured")[0], name


def test_the_rest_is_folded(text, audits):
    page = Page(text)
    assert not [attrs for attrs in page.all("details") if "open" in attrs]
    for result in audits:
        sections = sections_of(result, "a")
        assert [s.title for s in sections if not s.folded] == [
            "Where the gain came from",
            "Success within k draws",
        ]
        assert all(s.gist for s in sections if s.folded)
        assert sum(len(s.figures) for s in sections if not s.folded) <= 4


def test_of_many_audits_each_is_folded(audits):
    short = [replace(a, measurements=(), spans=()) for a in audits]
    few, many = (render(short * times, command="c", seconds=1.0, made="now") for times in (1, 4))
    assert "<summary>How it was measured</summary>" not in few
    assert many.count("<summary>How it was measured</summary>") == 8
    assert few.count('<section class="part" id="a1-gain"') == 1
    assert '<section class="part" id="a1-gain"' not in many
    assert '<details class="fold part" id="a1-gain"' in many
    assert breaches(many) == []


def test_very_many_cells_stand_behind_a_summary(audits):
    cell = audits[0].cells[0]
    many = replace(audits[0], cells=tuple(replace(cell, key={"topic": f"t{i}"}) for i in range(200)))
    main, apart = summary.page_tables([many, audits[1]])
    assert len(main.rows) == 2 + len(audits[1].cells)
    assert [len(table.rows) for table in apart] == [200]
    text = render([many], command="c", seconds=1.0)
    assert "graph: 200 cells" in text
    assert breaches(text) == []


def test_every_label_has_badge_sentence_and_colour(audits):
    css = style_sheet()
    for label in get_args(Label):
        bare = replace(audits[0], measurements=(), spans=(), cells=())
        text = render([with_verdict(bare, label=label)], command="c", seconds=1.0)
        look, sign = summary.SIGNS[label]
        assert f'<span class="badge v-{look}"><span aria-hidden="true">{sign}</span> {label}</span>' in text
        assert summary.SAID[label].split("{")[0] in text
        assert f".v-{look} {{ --tone:" in css
        assert f"--t-{look}:" in css


def test_where_nothing_was_measured_nothing_is_drawn_as_if_it_were(audits):
    nothing = with_verdict(audits[0], label="nothing measured", why="neither policy ever succeeds")
    assert summary.card(nothing, "a").figure is None
    text = render([nothing], command="c", seconds=1.0)
    assert "a1-waterfall" not in text
    assert "a1-moved" not in text
    assert "Nothing measured at K = 32: neither policy ever succeeds." in text
    assert "nothing was measured" in text


def test_what_is_at_chance_stands_apart_everywhere(audits):
    result = lucky(audits[0])
    text = render([result], command="c", seconds=1.0)
    main, _ = summary.page_tables([result])
    assert "at chance" in main.header
    assert main.rows[0][main.header.index("at chance")] == estimate(
        result.verdict.masses["at_chance"], signed=True
    )
    assert "at chance share" in {fact.name for fact in summary.facts(result)}
    assert "url(#a1-waterfall-c)" in text
    assert "rule-at-chance" in text
    assert re.search(r"\(\d+ reachable, .*6 at chance", text)
    assert "at_chance" not in visible(text)
    plain, _ = summary.page_tables(audits)
    assert "at chance" not in plain.header


def emptied(audits, kind):
    """Audits of which little or nothing is known."""
    result, nan = audits[0], float("nan")
    if kind == "undefined":
        return replace(
            result,
            measurements=tuple(replace(m, value=nan, low=nan, high=nan, n=0) for m in result.measurements),
            verdict=replace(
                result.verdict,
                masses={}, shares={}, curve=tuple((k, nan, nan, nan) for k, *_ in result.verdict.curve),
                base_p=np.full_like(result.verdict.base_p, nan),
            ),
            cells=tuple(replace(c, verdict=replace(c.verdict, masses={})) for c in result.cells),
            tables=replace(result.tables, history=({"step": 1.0, "reward": 0.5},)),
        )  # fmt: skip
    if kind == "one problem":
        none = {"base_p": np.zeros(0), "tuned_q": np.zeros(0), "classes": result.verdict.classes[:0]}
        return with_verdict(result, **none)
    return result


@pytest.mark.parametrize("kind", ["whole", "undefined", "one problem"])
def test_no_plot_is_empty(audits, kind):
    result = emptied(audits, kind)
    figures = [f for s in sections_of(result, "a") for f in (*s.figures, *s.more)]
    card = summary.card(result, "a").figure
    for figure in figures if card is None else [*figures, card]:
        for drawn in (figure.wide, figure.narrow):
            marks = [e for e in ET.fromstring(drawn).iter() if DATA.match(e.get("class") or "")]
            keys = len([e for e in ET.fromstring(drawn).iter("text") if e.get("class") == "key"])
            assert len(marks) > keys, figure.name
    assert kind != "undefined" or not figures
    assert breaches(render([result], command="c", seconds=1.0)) == []


def dashes(css: str, look: str) -> str:
    """The dash pattern of a line, as the style sheet has it."""
    blocks = re.findall(r"([^{}]+)\{([^}]*)\}", css)
    rules = [rule for names, rule in blocks if f".line-{look}" in re.split(r"[,\s]+", names)]
    found = [m[1] for rule in rules if (m := re.search(r"stroke-dasharray: ([^;]+);", rule))]
    return found[-1] if found else "none"


def test_curves_differ_without_colour():
    css = style_sheet()
    assert dashes(css, "base") != dashes(css, "tuned") == "none"
    assert re.search(r"\.dot-base \{ fill: var\(--card\)", css), "hollow"
    assert re.search(r"\.dot-tuned, .*\{ fill: var\(--ink\)", css), "full"
    assert len({dashes(css, look) for look in _CYCLE}) == len(_CYCLE)
    assert len({dashes(css, look) for look in ("plan", "exec", "plain")}) == 3
    rules = [
        re.search(rf"\.rule-{name} \{{([^}}]*)", css) for name in ("undecided", "unreachable", "at-chance")
    ]
    assert len({re.sub(r"stroke: [^;]*;", "", m[1]) for m in rules if m}) == 3


def test_every_look_of_a_drawing_is_in_the_style_sheet(audits, text):
    css = style_sheet()
    drawn = re.findall(r"<svg.*?</svg>", text, re.S)
    looks = {one for svg in drawn for group in re.findall(r'class="([^"]*)"', svg) for one in group.split()}
    plain = {"row-name", "is-undecided", "is-base", "is-at_chance"}
    assert {one for one in looks if f".{one}" not in css} <= plain


def test_an_interval_is_said_where_there_is_none(audits):
    bare = with_verdict(
        audits[0], masses={**audits[0].verdict.masses, "gain": Estimate(0.25, math.nan, math.nan)}
    )
    assert summary.facts(bare)[0].more == "no interval"


def test_a_right_answer_under_a_wrong_trace_is_no_matter_of_format(audits):
    base, tuned = audits[0].tables.paired.base, audits[0].tables.paired.tuned
    lenient = [replace(a, columns={**a.columns, "lenient": a.outcome}) for a in (base, tuned)]
    assert float(base.outcome.mean()) > float(base.verified.mean()) + 0.02
    paired = Paired(base=lenient[0], tuned=lenient[1])
    assert paired.counts().base_lenient is None
    assert paired.counts("answer").base_lenient is not None
