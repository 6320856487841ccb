from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from keyturn.core.measurement import Estimate
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.measures.answer_entropy import AnswerEntropyConfig, measure_answer_entropy
from keyturn.measures.contract import Tables
from keyturn.measures.coverage import CoverageConfig, measure_coverage, solved_within
from keyturn.measures.crossing import CrossingConfig, crossing_points, measure_crossing
from keyturn.measures.draws import plain_draws
from keyturn.measures.kitagawa import Counted, kitagawa
from keyturn.measures.length import LengthConfig, measure_length
from keyturn.measures.paired import Paired
from keyturn.measures.pass_at_k import PassAtKConfig, measure_pass_at_k
from keyturn.measures.routing_execution import RoutingExecutionConfig, measure_routing_execution, shares
from keyturn.rollouts.grades import Answers

STREAMS = Streams(3, ("test-answer-measures",))
R = 300


def drawn(
    policy: str,
    p: np.ndarray,
    n: int,
    *,
    strategies: tuple[str, ...] = (),
    weights: tuple[float, ...] = (),
    boost: tuple[float, ...] = (),
    answer: int = 5,
) -> Answers:
    """Draws with success p (times the strategy's boost), answers out of ``answer`` values when wrong."""
    generator = STREAMS.generator("draw", policy, len(p), n)
    size = len(p) * n
    problem = np.repeat(np.arange(len(p)), n).astype(np.int32)
    which = generator.choice(len(strategies), size=size, p=weights) if strategies else np.zeros(size, dtype=int)
    chance = p[problem] * (np.array(boost)[which] if boost else 1.0)
    right = (generator.random(size) < chance).astype(np.float32)
    wrong = generator.integers(1, answer, size=size)
    columns = {"strategy": np.array([strategies[j] for j in which], dtype=object)} if strategies else {}
    return Answers(
        policy=policy,
        problems=tuple(
            Problem(id=str(i), prompt="?", answer="0", cell={"depth": i % 2}) for i in range(len(p))
        ),
        problem=problem,
        draw=np.tile(np.arange(n), len(p)).astype(np.int32),
        outcome=right,
        verified=np.full(size, np.nan, dtype=np.float32),
        answer=tuple("0" if hit else str(w) for hit, w in zip(right, wrong, strict=True)),
        length=np.where(right == 1, 10, 20).astype(np.int32),
        truncated=right == 0,
        columns=columns,
    )


def tables(base: Answers, tuned: Answers, **more) -> Tables:
    known = {name: more.pop(name) for name in ("guess", "chance") if name in more}
    return Tables(streams=STREAMS, paired=Paired(base=base, tuned=tuned, **known), **more)


def nothing(policy: str) -> Answers:
    return drawn(policy, np.empty(0), 4)


def by_key(found, name: str, **keys):
    hits = [m for m in found if m.name == name and all(m.parameters.get(k) == v for k, v in keys.items())]
    assert len(hits) == 1, (name, keys, [m.parameters for m in hits])
    return hits[0]


# pass@k


def test_pass_at_k_up_to_the_draws_and_beyond_them_flagged():
    base = drawn("base", np.linspace(0.05, 0.6, 40), 64)
    short = base.select((base.problem != 0) | (base.draw < 8))
    found = measure_pass_at_k(tables(short, drawn("tuned", np.full(40, 0.5), 16)), PassAtKConfig(resamples=R))
    ks = [m.parameters["k"] for m in found if m.parameters["policy"] == "base"]
    assert ks == [1, 2, 4, 8, 16, 32, 64]
    assert [m.parameters["k"] for m in found if m.parameters["policy"] == "tuned"] == [1, 2, 4, 8, 16]
    one = by_key(found, "pass_at_k", policy="base", k=1)
    assert one.value == pytest.approx(np.mean(short.counts()[1] / short.counts()[0]))
    assert one.parameters["extrapolated"] == 0
    assert not one.note
    far = by_key(found, "pass_at_k", policy="base", k=16)
    assert far.parameters["extrapolated"] == pytest.approx(1 / 40)
    assert "posterior" in far.note
    assert (
        by_key(found, "pass_at_k", policy="tuned", k=4).null.value
        == by_key(found, "pass_at_k", policy="base", k=4).value
    )
    assert all(0 <= m.low <= m.value <= m.high <= 1 for m in found)


def test_pass_at_k_by_cell_and_beside_guessing():
    found = measure_pass_at_k(
        tables(
            drawn("base", np.full(20, 0.3), 8), drawn("tuned", np.full(20, 0.6), 8), guess=np.full(20, 0.25)
        ),
        PassAtKConfig(by=("depth",), resamples=R),
    )
    assert {m.parameters.get("cell") for m in found} == {None, "depth 0", "depth 1"}
    two = by_key(found, "pass_at_k", policy="base", k=2, cell="depth 1")
    assert two.n == 10
    assert two.null.value == pytest.approx(1 - 0.75**2)


# crossing


def test_crossing_points_by_hand():
    ks = (1, 2, 4, 8)
    curves = np.array(
        [[0.2, 0.1, -0.1, -0.2], [0.2, 0.1, 0.05, 0.01], [-0.1, 0.1, 0.1, 0.1], [0.3, 0.0, 0.1, 0.1]]
    )
    points = crossing_points(curves, ks)
    assert points[0] == pytest.approx(2**1.5)
    assert points[1] == math.inf
    assert math.isnan(points[2])
    assert points[3] == pytest.approx(2.0)


def test_a_planted_crossing_is_found_and_established():
    # p = .1 everywhere against q = 1 on 40 % of the problems: 1 - .9^k passes .4 at k = 4.85
    p, q = np.full(200, 0.1), np.where(np.arange(200) % 5 < 2, 1.0, 0.0)
    found = measure_crossing(tables(drawn("base", p, 128), drawn("tuned", q, 64)), CrossingConfig(resamples=R))
    crossing = by_key(found, "crossing", success="answer")
    assert crossing.value == pytest.approx(4.85, abs=0.4)
    assert crossing.low < 4.85 < crossing.high < 8
    assert crossing.parameters["established"] is True
    assert crossing.parameters["p_no_crossing"] == 0
    assert by_key(found, "pass_at_k_difference", k=1).low > 0
    assert by_key(found, "pass_at_k_difference", k=64).high < 0


def test_no_crossing_is_infinite_and_nothing_to_cross_is_nan():
    p = np.full(60, 0.05)
    ahead = measure_crossing(
        tables(drawn("base", p, 64), drawn("tuned", p * 4, 16)), CrossingConfig(resamples=R)
    )
    crossing = by_key(ahead, "crossing")
    assert crossing.value == math.inf
    assert crossing.to_json()["value"] == "inf"
    assert crossing.parameters["established"] is False
    behind = measure_crossing(
        tables(drawn("base", p * 4, 64), drawn("tuned", p, 16)), CrossingConfig(resamples=R)
    )
    assert math.isnan(by_key(behind, "crossing").value)
    assert by_key(behind, "crossing").n == 0


# coverage


def test_the_replicate_null_is_what_two_disjoint_sets_of_draws_do():
    generator = STREAMS.generator("replicate")
    n, k, c = 40, 8, 3
    solved = solved_within(
        plain_draws(np.array([n]), np.array([c])), plain_draws(np.array([k]), np.array([1])), k
    )
    hits = 0
    for _ in range(8000):
        places = generator.choice(n, size=c, replace=False)
        hits += (places >= k).all() and ((places >= k) & (places < 2 * k)).any()
    assert solved.null[0] == pytest.approx(hits / 8000, abs=0.02)


def test_an_unchanged_policy_has_no_excess_and_a_changed_one_has():
    p = np.tile([0.02, 0.5, 0.0], 60)
    same = measure_coverage(
        tables(drawn("base", p, 256), drawn("tuned", p, 32)), CoverageConfig(k=32, resamples=R)
    )
    for name in ("coverage_gained_excess", "coverage_lost_excess"):
        assert by_key(same, name).low <= 0 <= by_key(same, name).high
    # a replicate gains and loses problems all the same
    assert by_key(same, "coverage_gained").low > 0.03
    assert by_key(same, "coverage_mcnemar").value > 0.05
    lost = np.where(p == 0.5, 0.0, p)
    changed = measure_coverage(
        tables(drawn("base", p, 256), drawn("tuned", lost, 32)), CoverageConfig(k=32, resamples=R)
    )
    assert by_key(changed, "coverage_lost_excess").low > 0.2
    assert by_key(changed, "coverage_mcnemar").value < 1e-6
    net = by_key(changed, "coverage", policy="tuned").value - by_key(changed, "coverage", policy="base").value
    moved = by_key(changed, "coverage_gained").value - by_key(changed, "coverage_lost").value
    assert moved == pytest.approx(net)


def test_coverage_k_is_lowered_to_the_tuned_draws():
    found = measure_coverage(
        tables(drawn("base", np.full(10, 0.2), 64), drawn("tuned", np.full(10, 0.2), 4)),
        CoverageConfig(resamples=R),
    )
    assert {m.parameters["k"] for m in found} == {4}


def test_one_draw_has_no_replicate():
    p = np.full(50, 0.4)
    found = measure_coverage(tables(drawn("base", p, 1), drawn("tuned", p, 1)), CoverageConfig(resamples=R))
    assert "none possible" in by_key(found, "coverage_gained").null.kind
    assert math.isnan(by_key(found, "coverage_gained").null.value)
    assert not any("excess" in m.name for m in found)


# routing and execution


def counted(n, c) -> Counted:
    return Counted(n=np.array([n]), c=np.array([c]))


def test_kitagawa_by_hand():
    # shares .5/.5 -> .8/.2, accuracies .2/.6 unchanged: all routing
    split = kitagawa(counted([10, 10], [2, 6]), counted([20, 5], [4, 3]), {})
    assert split.gain == pytest.approx([7 / 25 - 8 / 20])
    assert split.routing == pytest.approx(split.gain)
    assert split.execution == pytest.approx([0], abs=1e-12)
    # shares unchanged, accuracies .2/.6 -> .4/.6: all execution
    split = kitagawa(counted([10, 10], [2, 6]), counted([10, 10], [4, 6]), {})
    assert split.execution == pytest.approx([0.1])
    assert split.routing == pytest.approx([0], abs=1e-12)


def test_a_strategy_the_base_never_takes_is_attributed_only_through_forced_draws():
    base, tuned = counted([20, 0], [4, 0]), counted([0, 20], [0, 16])
    alone = kitagawa(base, tuned, {})
    assert alone.unattributed == pytest.approx([0.6])
    assert alone.routing == pytest.approx([0.0])
    forced = {"base": np.array([[0.2, 0.7]]), "tuned": np.array([[0.3, 0.8]])}
    split = kitagawa(base, tuned, forced)
    # routing: (-1)(.2 + .3)/2 + (1)(.7 + .8)/2; execution: (.3 - .2)/2 + (.8 - .7)/2
    assert split.routing == pytest.approx([0.5])
    assert split.execution == pytest.approx([0.1])
    assert split.unattributed == pytest.approx([0.0])


def test_rates_corrected_for_two_stages_still_sum():
    split = kitagawa(counted([10, 10], [2, 6]), counted([20, 5], [4, 3]), {}, base_rate=np.array([0.35]))
    assert split.gain == pytest.approx([7 / 25 - 0.35])
    assert split.unattributed == pytest.approx([0.0], abs=1e-12)


def test_planted_routing_and_planted_execution():
    p = np.full(80, 0.4)
    names = ("FWD", "BWD")
    base = drawn("base", p, 128, strategies=names, weights=(0.3, 0.7), boost=(2.0, 0.5))
    routed = drawn("tuned", p, 64, strategies=names, weights=(0.9, 0.1), boost=(2.0, 0.5))
    better = drawn("tuned", p, 64, strategies=names, weights=(0.3, 0.7), boost=(2.4, 0.9))
    gain = Estimate(0.3, 0.2, 0.4)
    for tuned, part, other in ((routed, "routing", "execution"), (better, "execution", "routing")):
        found = measure_routing_execution(tables(base, tuned), RoutingExecutionConfig(resamples=R))
        assert by_key(found, "routing_execution_share", part=part).low > 0.8
        assert abs(by_key(found, "routing_execution", part=other).value) < 0.02
        null = by_key(found, "routing_execution", part=part).null
        assert null.low <= 0 <= null.high < by_key(found, "routing_execution", part=part).low
        assert shares(found, gain)[part].value > 0.8
        assert math.isnan(shares(found, Estimate(0.01, -0.1, 0.1))[part].value)
    taken = by_key(found, "strategy_share", policy="base", alternative="FWD")
    assert taken.value == pytest.approx(0.3, abs=0.02)
    assert by_key(found, "strategy_accuracy", policy="base", alternative="FWD").value == pytest.approx(
        0.8, abs=0.03
    )


def test_forced_draws_reach_the_measure():
    p = np.full(30, 0.5)
    base = drawn("base", p, 64, strategies=("FWD", "BWD"), weights=(1.0, 0.0))
    tuned = drawn("tuned", p, 64, strategies=("FWD", "BWD"), weights=(0.0, 1.0), boost=(1.0, 1.6))
    alone = measure_routing_execution(tables(base, tuned), RoutingExecutionConfig(resamples=R))
    assert by_key(alone, "routing_execution", part="unattributed").value > 0.25
    forced = {
        (policy, name): drawn(f"{policy} {name}", np.full(30, x), 32)
        for policy, name, x in (
            ("base", "BWD", 0.8), ("base", "FWD", 0.5), ("tuned", "FWD", 0.5), ("tuned", "BWD", 0.8),
        )
    }  # fmt: skip
    found = measure_routing_execution(tables(base, tuned, forced=forced), RoutingExecutionConfig(resamples=R))
    assert abs(by_key(found, "routing_execution", part="unattributed").value) < 1e-9
    assert by_key(found, "routing_execution", part="routing").value == pytest.approx(0.3, abs=0.04)


# answers and lengths


@pytest.mark.parametrize("estimator", ["chao-shen", "miller-madow"])
def test_answer_entropy_falls_where_answers_concentrate(estimator):
    base, tuned = drawn("base", np.full(40, 0.2), 128), drawn("tuned", np.full(40, 0.9), 32)
    config = AnswerEntropyConfig(estimator=estimator, resamples=R)
    found = measure_answer_entropy(tables(base, tuned), config)
    truth = -(0.2 * math.log(0.2) + 4 * 0.2 * math.log(0.2))
    # five answers among 32 draws: Miller-Madow undoes the bias, Chao-Shen corrects for unseen answers only
    within = {"chao-shen": 0.08, "miller-madow": 0.02}[estimator]
    assert by_key(found, "answer_entropy", policy="base").value == pytest.approx(truth, abs=within)
    change = by_key(found, "answer_entropy_change")
    assert change.high < change.null.low < 0 < change.null.high


def test_answer_entropy_counts_equal_numbers_of_draws():
    # two policies with the same answers must not differ because one was drawn more often
    base, tuned = (
        drawn("base", np.full(60, 0.2), 256, answer=60),
        drawn("tuned", np.full(60, 0.2), 16, answer=60),
    )
    change = by_key(
        measure_answer_entropy(tables(base, tuned), AnswerEntropyConfig(resamples=R)), "answer_entropy_change"
    )
    assert change.low <= 0 <= change.high


def test_no_extracted_answers_is_nan():
    base = drawn("base", np.full(4, 0.5), 8)
    blank = replace(base, answer=("",) * len(base))
    (found,) = measure_answer_entropy(tables(blank, blank), AnswerEntropyConfig())
    assert math.isnan(found.value)
    assert found.n == 0


def test_length_by_outcome_and_truncation():
    base, tuned = drawn("base", np.full(30, 0.5), 64), drawn("tuned", np.full(30, 0.9), 64)
    found = measure_length(tables(base, tuned), LengthConfig(resamples=R))
    assert by_key(found, "length", policy="base", outcome="right").value == 10
    assert by_key(found, "length", policy="tuned", outcome="wrong").value == 20
    change = by_key(found, "length_change", outcome="all")
    assert change.value == pytest.approx(-4, abs=0.5)
    assert change.high < change.null.low
    assert by_key(found, "truncated_change").value == pytest.approx(-0.4, abs=0.05)
    assert by_key(found, "truncated", policy="base").value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("measure", "config"),
    [
        (measure_pass_at_k, PassAtKConfig(resamples=R)),
        (measure_crossing, CrossingConfig(resamples=R)),
        (measure_coverage, CoverageConfig(resamples=R)),
        (measure_routing_execution, RoutingExecutionConfig(resamples=R)),
        (measure_answer_entropy, AnswerEntropyConfig(resamples=R)),
        (measure_length, LengthConfig(resamples=R)),
    ],
)
def test_empty_input_is_nan_with_n_0(measure, config):
    found = measure(tables(nothing("base"), nothing("tuned")), config)
    assert found
    assert all(math.isnan(m.value) and m.n == 0 for m in found), [(m.name, m.value, m.n) for m in found]
