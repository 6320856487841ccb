"""The page of a frontier: every way is on it, nothing undefined is drawn, nothing from outside is markup."""

import re
from dataclasses import replace

import pytest
from made_up_frontier import made_up

from keyturn.core.measurement import Estimate
from keyturn.measures.frontier import COSTS
from keyturn.report.figures.frontier import cost_figure
from keyturn.report.frontier_page import render_frontier
from keyturn.report.frontier_rows import way_table

HOSTILE = "<img src=x onerror=alert(1)>\u202e|`"


@pytest.fixture(scope="module")
def page():
    return render_frontier([made_up()], command="keyturn frontier", seconds=12.0, made="now")


def test_every_way_and_every_reason_stands_on_the_page(page):
    result = made_up()
    for point in result.frontier.points:
        assert point.name in page
    assert "no word is one token" in page
    assert result.sentence in page
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.S).lower()


@pytest.mark.parametrize("cost", COSTS)
def test_a_chart_for_every_cost_that_differs(cost, page):
    figure = cost_figure("x", made_up(), cost)
    if cost == "teacher_bits":
        assert figure is None
        assert "It is 0 for every way" in page
        return
    assert f'id="f1-{cost}-f"' in page
    marks = str(figure.wide)
    known = [
        one for one in made_up().frontier.points if one.costs[cost] == one.costs[cost] and one.kind != "null"
    ]
    assert sum(f"<title>{one.name}:" in marks for one in known) == len(known), "every known way has a mark"
    assert "best-of-n-verifier" not in figure.says.split("Not known")[0], "a ceiling is on no front"
    if cost == "examples":
        assert "Not known for tuned" in figure.says


def with_points(result, **changed):
    """The frontier with some fields of some points replaced."""
    points = [replace(one, **changed.get(one.name, {})) for one in result.frontier.points]
    return replace(result, frontier=replace(result.frontier, points=tuple(points)))


def test_what_is_not_told_apart_is_not_put_beside_what_is_better():
    put = {"steering-random": {"call": "not told apart", "on_front": ("generated",)}}
    says = cost_figure("x", with_points(made_up(), **put), "generated").says
    sure, alone = says.split("By the means alone")
    assert "steering-random" not in sure
    assert "steering-random, not told apart from the plain base" in alone


@pytest.mark.parametrize("names", [1, 2])
def test_levels_that_nearly_meet_have_one_name(names):
    result = made_up()
    tuned = result.frontier.point("tuned")
    near = replace(tuned.gain, value=tuned.gain.value - 0.01 if names == 1 else 0.0)
    marks = str(cost_figure("x", with_points(result, **{"few-shot": {"gain": near}}), "generated").wide)
    told = re.findall(r">([^<>]*(?:best prompt|tuned))</text>", marks)
    assert len([one for one in told if "%" in one]) == names


def test_an_upper_bound_says_so():
    table = way_table(made_up())
    [row] = [row for row in table.rows if row[0] == "sft"]
    assert "\u2264 200" in row


def test_without_a_tuned_model_there_is_no_hundred_per_cent():
    page = render_frontier([made_up(tuned=False)], command="c", seconds=1.0)
    assert "100 %: tuned" not in page
    assert "No tuned model was given" in page


def test_a_gap_that_is_not_sure_has_no_per_cent():
    sure = cost_figure("x", made_up(), "generated")
    assert "100 %: tuned" in sure.wide
    frontier = replace(made_up().frontier, gap=Estimate(0.1, -0.1, 0.3))
    unsure = cost_figure("x", replace(made_up(), frontier=frontier), "generated")
    assert "100 %" not in unsure.wide
    assert ">tuned<" in unsure.wide


def test_text_from_outside_is_inert():
    page = render_frontier([made_up(HOSTILE)], command="c", seconds=1.0)
    assert "<img src=x" not in page
    assert "\u202e" not in page
