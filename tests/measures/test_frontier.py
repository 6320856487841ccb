"""The frontier's arithmetic: differences, shares, calls and fronts against what can be said by hand."""

import math

import numpy as np
import pytest

from keyturn.core.streams import Streams
from keyturn.measures.frontier import NULL, PLAIN, TUNED, Way, frontier_of, undominated

PROBLEMS = 60


def rates(p, draws=16, seed=0):
    return np.random.default_rng(seed).binomial(draws, np.full(PROBLEMS, p)) / draws


def way(name, kind, success, *, tokens=10.0, told=False, control=(), **costs):
    known = {name: np.full(PROBLEMS, value) for name, value in {"generated": tokens, **costs}.items()}
    return Way(name=name, kind=kind, success=success, costs=known, told=told, control=control)


def made(*more, tuned=0.8):
    reference = [] if tuned is None else [way(TUNED, "tuned", rates(tuned, seed=3), weights=100.0)]
    ways = [
        way(PLAIN, "base", rates(0.2, seed=1), weights=0.0),
        way(NULL, "null", rates(0.2, seed=2), weights=0.0),
    ]
    return frontier_of([*ways, *reference, *more], PLAIN, Streams(0), resamples=500)


def test_gains_and_shares_are_the_means_by_hand():
    better = way("good", "elicitation", rates(0.5, seed=4), tokens=160.0, weights=0.0)
    found = made(better)
    plain, tuned, good = (found.point(name) for name in (PLAIN, TUNED, "good"))
    gain = better.success.mean() - rates(0.2, seed=1).mean()
    assert good.gain.value == pytest.approx(gain)
    assert good.share.value == pytest.approx(gain / (rates(0.8, seed=3).mean() - rates(0.2, seed=1).mean()))
    assert good.share.low < good.share.value < good.share.high
    assert (plain.share.value, tuned.share.value) == (0.0, 1.0)
    assert (plain.call, good.call, tuned.call) == ("reference", "better", "better")
    assert found.point(NULL).call == "null"


def test_what_lies_above_the_best_prompt_is_counted_from_there():
    prompt = way("few-shot", "prompt", rates(0.6, seed=5))
    good = way("good", "elicitation", rates(0.7, seed=6))
    ways = [way(PLAIN, "base", rates(0.2, seed=1)), way(NULL, "null", rates(0.2, seed=2))]
    ways += [way(TUNED, "tuned", rates(0.8, seed=3)), prompt, good]
    found = frontier_of(ways, "few-shot", Streams(0), resamples=500)
    assert found.point("few-shot").recovered.value == 0.0
    top = good.success.mean() - prompt.success.mean()
    assert found.point("good").recovered.value == pytest.approx(top / found.gap.value)
    assert found.point(PLAIN).recovered.value < 0, "what is below the best prompt is not clipped"


@pytest.mark.parametrize("tuned", [None, 0.2, 0.05])
def test_no_share_without_a_sure_denominator(tuned):
    found = made(way("good", "elicitation", rates(0.5, seed=4)), tuned=tuned)
    assert all(math.isnan(one.share.value) and math.isnan(one.recovered.value) for one in found.points)


def test_trying_many_ways_earns_nothing():
    calls = []
    for run in range(8):
        ways = [way(f"w{i}", "elicitation", rates(0.2, seed=1000 + 40 * run + i)) for i in range(20)]
        base = [
            way(PLAIN, "base", rates(0.2, seed=500 + run)),
            way(NULL, "null", rates(0.2, seed=700 + run)),
        ]
        found = frontier_of([*base, *ways], PLAIN, Streams(run), resamples=300)
        calls.append(any(one.call in ("better", "worse") for one in found.points))
    assert sum(calls) <= 1


def test_luck_of_the_first_draw_of_the_base_makes_nothing_better():
    unlucky = rates(0.2, seed=1) * 0.3
    ways = [way(PLAIN, "base", unlucky), way(NULL, "null", rates(0.2, seed=2))]
    found = frontier_of([*ways, way("same", "elicitation", rates(0.2, seed=9))], PLAIN, Streams(0))
    assert found.point("same").gain.low > 0
    assert found.point("same").call == "not told apart"


def test_who_is_told_the_answers_is_a_ceiling_and_on_no_front():
    found = made(way("verifier", "elicitation", rates(0.95, seed=8), tokens=5.0, told=True))
    assert found.point("verifier").call == "told the answers"
    assert found.point("verifier").front == {}
    assert "generated" in found.point(TUNED).on_front


def test_a_cheap_way_that_answers_worse_than_the_base_is_on_no_front():
    found = made(way("cheap", "elicitation", rates(0.01, seed=12), tokens=1.0))
    assert found.point("cheap").front["generated"] < 0.05
    assert "generated" not in found.point("cheap").on_front


def test_a_cost_that_nobody_knows_has_no_front():
    found = made(way("server", "elicitation", rates(0.5, seed=4), tokens=math.nan))
    assert "generated" not in found.point("server").front
    assert found.point(TUNED).front["generated"] > 0.9


def test_undominated_by_hand():
    success = np.array([[0.1, 0.5, 0.5, 0.4, 0.9]])
    cost = np.array([[1.0, 2.0, 2.0, 3.0, 9.0]])
    assert undominated(success, cost).tolist() == [[True, True, True, False, True]]


def test_problems_without_a_graded_answer_of_every_way_are_left_out():
    holes = rates(0.5, seed=4)
    holes[:4] = np.nan
    found = made(way("holes", "elicitation", holes))
    assert (found.problems, found.left_out) == (PROBLEMS - 4, 4)


def test_one_problem_has_no_interval_and_no_call():
    ways = [
        Way(name=name, kind=kind, success=np.array([p]), costs={})
        for name, kind, p in ((PLAIN, "base", 0.0), (NULL, "null", 0.0), ("w", "elicitation", 1.0))
    ]
    found = frontier_of(ways, PLAIN, Streams(0))
    assert found.point("w").call == "not told apart"
    assert math.isnan(found.point("w").gain.low)
