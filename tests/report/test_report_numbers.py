"""Numbers and tables as a person reads them."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import counted, estimate, number, parted, seconds, whole
from keyturn.report.axes import Scale, linear, logarithmic, tick_names
from keyturn.report.keys import Note, place_notes
from keyturn.report.svg import clip, fit, width_of
from keyturn.report.tables import Table, markdown

ANY = st.floats(allow_nan=True, allow_infinity=True)


@pytest.mark.parametrize(
    ("value", "options", "shown"),
    [
        (0.125, {}, "0.12"),
        (-0.5, {}, "\u22120.50"),
        (-0.001, {}, "0.00"),
        (0.001, {"signed": True}, "0.00"),
        (0.3, {"signed": True}, "+0.30"),
        (math.nan, {}, "n/a"),
        (math.inf, {}, "\u221e"),
        (-math.inf, {"signed": True}, "\u2212\u221e"),
        (2.84e-17, {"digits": 3, "small": True}, "2.8e\u221217"),
        (0.0004, {"digits": 2, "small": True}, "0.0004"),
        (1234.5, {"digits": 1}, "1,234.5"),
    ],
)
def test_one_form_for_every_number(value, options, shown):
    assert number(value, **options) == shown


def test_an_estimate_shows_its_interval_or_none():
    assert estimate(Estimate(0.19, 0.12, 0.26), signed=True) == "+0.19 [+0.12, +0.26]"
    assert estimate(Estimate(0.19)) == "0.19"
    assert estimate(Estimate(math.nan)) == "n/a"
    assert estimate(None) == "n/a"
    assert estimate(Estimate(3.0, 2.0, math.inf), digits=1) == "3.0 [2.0, \u221e]"


def test_shares_counts_and_durations():
    assert [counted(n, "draw") for n in (0, 1, 64, 1319)] == ["0 draws", "1 draw", "64 draws", "1,319 draws"]
    assert whole(12345) == "12,345"
    assert whole(math.inf) == "\u221e"
    assert [seconds(s) for s in (0.42, 48.4, 192, 7512, math.nan)] == [
        "0.4 s",
        "48 s",
        "3 min 12 s",
        "2 h 5 min",
        "n/a",
    ]


@given(ANY, st.integers(0, 6), st.booleans(), st.booleans())
def test_no_number_breaks_a_table(value, digits, signed, small):
    shown = number(value, digits=digits, signed=signed, small=small)
    assert shown
    assert "nan" not in shown
    assert "-" not in shown, "only the minus sign proper"


@given(st.lists(ANY, max_size=6), st.lists(ANY, max_size=3))
def test_a_linear_scale_holds_what_it_was_made_for(values, include):
    values = [v for v in values if abs(v) < 1e12 or not math.isfinite(v)]
    include = [v for v in include if abs(v) < 1e12 or not math.isfinite(v)]
    scale = linear(values, 10, 200, include=include)
    for value in (*values, *include):
        assert math.isnan(scale(value)) or 10 - 1e-6 <= scale(value) <= 200 + 1e-6
    assert len(tick_names(scale.ticks)) == len(scale.ticks) <= 12


@given(st.lists(ANY, max_size=6), st.sampled_from([2.0, 10.0]))
def test_a_logarithmic_scale_has_no_place_for_zero(values, base):
    scale = logarithmic(values, 0, 300, base=base)
    for value in values:
        place = scale(value)
        assert math.isnan(place) if value <= 0 and math.isfinite(value) else not place < -1e-6


def test_ticks_are_round():
    assert [round(t, 3) for t in Scale(low=0, high=1, start=0, stop=1).ticks] == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Scale(low=1, high=256, start=0, stop=300, base=2).ticks == (1, 2, 4, 8, 16, 32, 64, 128, 256)


@given(
    st.lists(st.tuples(st.floats(0, 350), st.sampled_from(["K = 32", "label changes at K = 2"])), max_size=6)
)
def test_notes_stand_apart_and_within(places):
    placed = place_notes([Note(x=x, words=words) for x, words in places], 350).placed
    spans = [(row, middle - width_of(n.words) / 2, middle + width_of(n.words) / 2) for n, middle, row in placed]
    assert all(left >= -1e-6 and right <= 350 + 1e-6 for _, left, right in spans)
    for (row, left, right), (other, left2, right2) in itertools.combinations(spans, 2):
        assert row != other or right <= left2 or right2 <= left


@given(st.text(max_size=80), st.floats(20, 400))
def test_a_long_name_keeps_both_ends_and_its_width(words, width):
    shown = fit(words, width)
    assert width_of(shown) <= max(width, width_of("ＷＷ…"))
    assert len(clip(words, 20)) <= 20


def test_names_that_differ_at_their_ends_stay_different():
    long = "mathematics, high school, competition level "
    assert fit(f"{long}1", 120) != fit(f"{long}2", 120)
    assert "\n" not in fit("two\nlines", 200)


def test_an_estimate_comes_apart_again():
    assert parted(estimate(Estimate(0.19, 0.12, 0.26), signed=True)) == ("+0.19", "[+0.12, +0.26]")
    assert parted("n/a") == ("n/a", "")


def test_markdown_lines_up_and_hostile_words_stay_words():
    table = Table(
        caption="",
        header=("name", "n"),
        rows=(("a|b", "12"), ("[x](http://y) <b>", "3 [1, 5]"), ("two\nlines", "")),
    )
    lines = markdown(table).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("| ---")
    assert lines[1].endswith("-: |")
    assert "a\\|b" in lines[2]
    assert "\\[x\\]" in lines[3]
    assert "&lt;b&gt;" in lines[3]
    assert "3 [1, 5]" in lines[3]


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row of 1"):
        Table(caption="t", header=("a", "b"), rows=(("x",),))
