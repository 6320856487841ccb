"""Every figure, on anything: well-formed, finite, described, with its data beside it."""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from keyturn.core.measurement import Estimate
from keyturn.report.figures.compare import (
    Bar,
    BeforeAfter,
    Words,
    amounts,
    before_and_after,
    beside_null,
    changes,
)
from keyturn.report.figures.curves import Curve, Meeting, created_share, difference, pass_at_k
from keyturn.report.figures.gain import CellRow, by_cell, waterfall
from keyturn.report.figures.lines import Plot, Series, lines, running_mean
from keyturn.report.figures.problems import moved
from keyturn.report.figures.ranges import Stretch, stretches_of
from keyturn.report.svg import element, polyline, runs, width_of

NAN = math.nan
ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
SHARE = st.one_of(st.floats(0, 1), st.just(NAN))
ESTIMATE = st.builds(Estimate, ANY, ANY, ANY)
HOSTILE = "</text><script>alert(1)</script>\x1b[31m\u202e\x00{{7*7}}"
NAME = st.one_of(st.text(max_size=12), st.just(HOSTILE))
WORDS = Words(title="Title", axis="axis, unit", reading="How to read it.")
FULL = {name: Estimate(0.4, 0.3, 0.5) for name in ("base", "tuned", "gain", "deployed", "created", "undecided")}
MASSES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("base", "tuned", "gain", "deployed", "created", "undecided", "at_chance"), ESTIMATE
    ),
)


def check(figure):
    """A drawing that parses, names and describes itself, and holds neither NaN nor a colour of its own."""
    for drawn in (figure.wide, figure.narrow):
        assert isinstance(drawn, Markup)
        root = ET.fromstring(drawn)
        assert root.get("role") == "img"
        ids = {child.get("id") for child in root if child.tag in {"title", "desc"}}
        assert set((root.get("aria-labelledby") or "").split()) == ids
        assert all((child.text or "").strip() for child in root if child.tag == "title")
        assert not re.search(r'"[^"]*\b(nan|inf)\b[^"]*"', re.sub(r"<(title|desc|text)[^>]*>[^<]*", "", drawn))
        assert not {e.tag for e in root.iter()} & {"script", "image", "foreignObject", "style", "a"}
        assert not re.search(r'(fill|stroke|style)="(?!url\(#)', drawn)
    assert figure.reading.endswith(".")
    assert figure.table.header


@given(MASSES)
@settings(max_examples=40, deadline=None)
def test_waterfall(masses):
    check(waterfall("w", masses, "verified"))


def test_the_waterfall_ends_where_the_tuned_policy_is():
    masses = {
        "base": Estimate(0.2), "deployed": Estimate(0.3), "created": Estimate(0.1),
        "undecided": Estimate(-0.05), "tuned": Estimate(0.55),
    }  # fmt: skip
    root = ET.fromstring(waterfall("w", masses, "verified").wide)
    bars = [
        e
        for e in root.iter("rect")
        if e.get("class") in ("fill-base", "fill-deployed", "edge-created", "fill-undecided", "fill-tuned")
    ]
    spans = [(float(e.get("x", 0)), float(e.get("x", 0)) + float(e.get("width", 0))) for e in bars]
    base, deployed, created, undecided, tuned = spans
    assert deployed[0] == pytest.approx(base[1], abs=0.2)
    assert created[0] == pytest.approx(deployed[1], abs=0.2)
    assert undecided[1] == pytest.approx(created[1], abs=0.2), "a negative step goes back"
    assert tuned[1] == pytest.approx(undecided[0], abs=0.2)


@given(st.lists(st.tuples(NAME, MASSES), max_size=4))
@settings(max_examples=30, deadline=None)
def test_cells(rows):
    cells = [CellRow(name=n, label="mixed", problems=3, masses=m) for n, m in rows]
    figure = by_cell("c", cells, "answer")
    check(figure)
    assert len(figure.table.rows) == len(cells)


def test_what_was_gained_at_chance_is_a_step_of_its_own():
    masses = {
        "base": Estimate(0.2), "deployed": Estimate(0.1), "created": Estimate(0.1), "at_chance": Estimate(0.2),
        "undecided": Estimate(0.0), "gain": Estimate(0.4), "tuned": Estimate(0.6),
    }  # fmt: skip
    for figure in (
        waterfall("w", masses, "verified"),
        by_cell("c", [CellRow(name="n", label="mixed", problems=9, masses=masses)], "verified"),
    ):
        fills = [
            e.get("fill") for e in ET.fromstring(figure.wide).iter("rect") if e.get("class") == "edge-at_chance"
        ]
        assert fills
        assert set(fills) == {f"url(#{figure.name}-c)"}
        assert "at chance" in str(figure.table)
    plain = {key: value for key, value in masses.items() if key != "at_chance"}
    assert "at chance" not in waterfall("w", plain, "verified").wide


def test_of_very_many_cells_those_that_moved_most_are_drawn():
    risen = [Estimate(i / 300) for i in range(300)]
    cells = [
        CellRow(
            name=f"cell {i}",
            label="mixed",
            problems=3,
            masses={"base": Estimate(0.0), "tuned": gain, "gain": gain},
        )
        for i, gain in enumerate(risen)
    ]
    figure = by_cell("c", cells, "answer")
    check(figure)
    assert len(figure.table.rows) == 300
    assert "The 24 that moved most" in figure.says
    assert ">cell 299<" in figure.wide
    assert ">cell 3<" not in figure.wide
    assert float(ET.fromstring(figure.wide).get("height") or 0) < 800


@pytest.mark.parametrize("name", ["x" * 500, "深" * 80, "a b " * 60, HOSTILE * 20])
def test_no_name_pushes_the_numbers_out(name):
    rows = [CellRow(name=n, label="nothing measured", problems=3, masses=FULL) for n in (name, "short")]
    bars = [Bar(name=n, found=Estimate(0.5, 0.1, 0.9)) for n in (name, "short")]
    for figure in (by_cell("c", rows, "answer"), beside_null("b", bars, WORDS), changes("d", bars, WORDS)):
        for drawn in (figure.wide, figure.narrow):
            root = ET.fromstring(drawn)
            width = float(root.get("width") or 0)
            values = [e for e in root.iter("text") if (e.get("class") or "").startswith("value")]
            assert len(values) == 2
            for text in root.iter("text"):
                x, wide = float(text.get("x", 0)), width_of(text.text or "")
                left = {"start": x, "middle": x - wide / 2, "end": x - wide}[text.get("text-anchor", "start")]
                assert left >= -3
                assert left + wide <= width + 3
            axis = next(e for e in root.iter("line") if e.get("class") == "axis")
            assert float(axis.get("x2", 0)) - float(axis.get("x1", 0)) >= 0.45 * width, (
                "the plot keeps its room"
            )


def curve(values, extrapolated=()):
    k = tuple(float(2**i) for i in range(len(values)))
    v, low, high = tuple(zip(*values, strict=True)) if values else ((), (), ())
    return Curve(name="base", look="base", k=k, value=v, low=low, high=high, extrapolated=extrapolated)


MEETING = st.one_of(st.none(), st.builds(Meeting, k=ANY, sure=st.booleans()))


@given(st.lists(st.tuples(SHARE, SHARE, SHARE), max_size=9), MEETING, st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_pass_at_k(values, meeting, budget, k_max):
    stretches = stretches_of([(1, k_max // 3)] if k_max > 5 else [], [(k_max, k_max)] if k_max else [], k_max)
    figure = pass_at_k(
        "p", [curve(values)], success="verified", budget=budget, meeting=meeting, stretches=stretches
    )
    check(figure)
    known = any(math.isfinite(v) for v, *_ in values)
    assert len(figure.table.rows) == (len(values) if known else 0)


def test_budgets_between_the_sure_ranges_are_unknown():
    assert stretches_of([(1, 4)], [(61, 128)], 128) == (
        Stretch(kind="above", low=1, high=4),
        Stretch(kind="unknown", low=5, high=60),
        Stretch(kind="below", low=61, high=128),
    )
    assert stretches_of([], [], 8) == (Stretch(kind="unknown", low=1, high=8),)
    assert stretches_of([], [], 0) == ()
    assert [s.kind for s in stretches_of([(1, 3)], [(4, 9)], 9)] == ["above", "below"]


def test_the_strip_tells_above_from_below_by_pattern_and_word():
    base = curve([(0.1 * i, 0.0, 1.0) for i in range(8)])
    stretches = stretches_of([(1, 6)], [(61, 128)], 128)
    drawn = pass_at_k(
        "p", [base], success="verified", budget=32, meeting=None, stretches=stretches, said="Said of it."
    )
    root = ET.fromstring(drawn.wide)
    fills = {e.get("class"): e.get("fill") for e in root.iter("rect") if "known" in (e.get("class") or "")}
    assert fills == {"known-above": "url(#p-s-above)", "known-not": None, "known-below": "url(#p-s-below)"}
    turned = {e.get("id"): e.get("patternTransform") for e in root.iter("pattern")}
    assert turned["p-s-above"] != turned["p-s-below"]
    words = {e.text for e in root.iter("text")}
    assert "not known" in words
    assert any(w in words for w in ("tuned surely above", "surely above", "above"))
    assert any(w in words for w in ("tuned surely below", "surely below", "below"))
    assert drawn.says == "Said of it."
    assert "k = 61 to 128: tuned surely below" in drawn.wide


def test_what_rests_on_a_posterior_is_drawn_and_told_so():
    values = [(0.2, 0.1, 0.3), (0.4, 0.3, 0.5), (0.6, 0.5, 0.7)]
    plain = pass_at_k("p", [curve(values, (0.0, 0.0, 0.0))], success="verified", budget=2, meeting=None)
    beyond = pass_at_k("p", [curve(values, (0.0, 0.0, 0.4))], success="verified", budget=2, meeting=None)
    assert "line beyond" not in plain.wide
    assert "line beyond" in beyond.wide
    assert "beyond the draws" in beyond.wide
    assert [row[1].endswith("*") for row in beyond.table.rows] == [False, False, True]


def test_the_crossing_is_ringed_where_the_base_curve_stands():
    base = curve([(0.2, 0.1, 0.3), (0.4, 0.3, 0.5), (0.8, 0.7, 0.9)])
    met = pass_at_k("p", [base], success="verified", budget=4, meeting=Meeting(k=2.0))
    ring = next(e for e in ET.fromstring(met.wide).iter("circle") if e.get("class") == "ring")
    # The first mark is the one of the key.
    dots = [e for e in ET.fromstring(met.wide).iter("circle") if e.get("class") == "dot-base"][1:]
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))
    assert "the curves meet at 2.0, not for sure" in met.wide
    never = pass_at_k("p", [base], success="verified", budget=4, meeting=Meeting(k=math.inf))
    assert "ring" not in never.wide


@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=6), st.one_of(ANY, st.sampled_from([2.0, 4.0])))
@settings(max_examples=60, deadline=None)
def test_created_share(values, flips_at):
    rows = [(float(2 ** (i + 1)), *v) for i, v in enumerate(values)]
    check(created_share("s", rows, budget=4, flips_at=flips_at))


@given(st.lists(st.tuples(ANY, ANY, ANY), max_size=6))
@settings(max_examples=40, deadline=None)
def test_difference(values):
    band = curve(values)
    check(difference("d", band, [(k, -0.1, 0.1) for k in band.k], success="verified", budget=4))


@given(st.lists(st.tuples(SHARE, SHARE, st.sampled_from([1, 0, -1, 2])), max_size=30))
@settings(max_examples=40, deadline=None)
def test_problems(rows):
    p, q, classes = (np.array(column) for column in zip(*rows, strict=True)) if rows else np.zeros((3, 0))
    ids = [HOSTILE] * len(rows)
    figure = moved("m", ids, ids, p.astype(float), q.astype(float), classes.astype(np.int8), 64)
    check(figure)
    assert len(figure.table.rows) == len(rows)


def test_very_many_problems_stay_drawable_and_say_so():
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    figure = moved("m", ["p"] * 5000, ["c"] * 5000, p, p**0.5, np.ones(5000, dtype=np.int8), 64)
    check(figure)
    assert "1200 of 5000" in figure.table.caption
    assert len(figure.wide) < 250_000


@given(st.lists(st.tuples(NAME, ESTIMATE, ESTIMATE), max_size=5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_rows_that_compare(rows, shares):
    check(
        before_and_after("a", [BeforeAfter(name=n, base=a, tuned=b) for n, a, b in rows], WORDS, shares=shares)
    )
    check(beside_null("b", [Bar(name=n, found=a, null=b) for n, a, b in rows], WORDS, shares=shares))
    check(changes("c", [Bar(name=n, found=a, null=b, look="plan") for n, a, b in rows], WORDS))
    check(amounts("d", [(n, a.value) for n, a, _ in rows], WORDS, str))


def test_what_lies_beyond_its_null_is_named():
    null = Estimate(0.5, 0.4, 0.6)
    bars = [Bar(name="in", found=Estimate(0.55), null=null), Bar(name="out", found=Estimate(0.9), null=null)]
    assert beside_null("b", bars, WORDS).says == "out lies above the null's range."
    assert beside_null("b", bars[:1], WORDS).says == "Every value lies within its null's range."


@given(
    st.lists(st.tuples(NAME, st.lists(st.tuples(ANY, ANY), max_size=30)), max_size=3),
    st.booleans(),
    st.sampled_from([0.0, 10.0]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_lines(series, shares, base, smooth):
    made = [Series(name=n, look="tuned", x=tuple(x for x, _ in p), y=tuple(y for _, y in p)) for n, p in series]
    plot = Plot(title="T", x_words="step", y_words="y", reading="R.", shares=shares, base=base, smooth=smooth)
    check(lines("l", made, plot))


def test_a_single_point_is_seen():
    plot = Plot(title="T", x_words="step", y_words="y", reading="R.")
    figure = lines("l", [Series(name="a", look="tuned", x=(3.0,), y=(0.5,))], plot)
    check(figure)
    assert "lone" in figure.wide


def test_lines_break_where_nothing_is_known():
    assert runs([(0, 0), (1, NAN), (2, 2), (3, 3)]) == [[(0, 0)], [(2, 2), (3, 3)]]
    assert polyline([(0, 0), (1, 1), (2, NAN), (3, 1), (4, 0)], "line").count("<path") == 2


def test_a_running_mean_leaves_gaps_out():
    assert running_mean([1.0, NAN, 3.0], 3) == [1.0, 2.0, 3.0]
    assert math.isnan(running_mean([NAN, NAN], 3)[0])


def test_an_element_refuses_what_is_not_finite_and_escapes_the_rest():
    with pytest.raises(ValueError, match="cannot contain nan"):
        element("rect", x=NAN)
    made = element("text", '<b a="1">&', class_='x" onload="y')
    assert ET.fromstring(made).text == '<b a="1">&'
    assert set(ET.fromstring(made).attrib) == {"class"}
