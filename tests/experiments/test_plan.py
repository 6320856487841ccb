"""Plans by hand: which rate is chosen, what is replicated, what a contrast says, and what it must not say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from keyturn.atlas.store import shipped_runs
from keyturn.core.errors import UsageError
from keyturn.core.statistics.proportions import difference_of_shares, jeffreys
from keyturn.core.streams import Streams
from keyturn.experiments.arms import CHAIN_RL, Cells, base_arm, embedded_task, numbers_on_test, rl_arm
from keyturn.experiments.plan import (
    FINDING_SEEDS,
    Arm,
    ArmRun,
    PlanSizes,
    ShareDone,
    against_best,
    contrast,
    is_rate,
    level,
    over_seeds,
    run_plan,
    values,
)
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS

BRIEF = replace(CHAIN_RL, steps=2, prompts=4, draws=4)
FEW = Cells(train=(1, 2), test=(1, 2), per_cell=8, held_out=3)


def runs_of(arm, found, chosen=True):
    return [
        ArmRun(arm=arm, lr=1e-3, seed=seed, chosen=chosen, validation=0.0, numbers={"x": value})
        for seed, value in enumerate(found)
    ]


def arms():
    trained = rl_arm("RL", objective=OBJECTIVES["grpo"](), reward=REWARDS["outcome"](), config=BRIEF)
    return [base_arm(), trained]


def test_every_rate_is_tried_once_and_the_best_on_validation_is_replicated(tmp_path):
    lab = Lab(tmp_path, Streams(0))
    task = embedded_task(lab, "chain", FEW)
    found = run_plan(Session(lab, task), arms(), PlanSizes(seeds=2, lrs=(1e-3, 3e-3)), numbers_on_test(2))
    own = [one for one in found if one.arm == "RL"]
    assert sorted((one.lr, one.seed) for one in own if one.seed == 0) == [(1e-3, 0), (3e-3, 0)]
    chosen = {one.lr for one in own if one.chosen}
    assert len(chosen) == 1
    best = max((one for one in own if one.seed == 0), key=lambda one: one.validation)
    assert chosen == {best.lr}
    assert [one.seed for one in own if one.chosen] == [0, 1]
    assert len(values(found, "base", "success")) == 2
    assert all(0 <= one.numbers["success"] <= 1 for one in found if one.chosen)
    assert {"success depth 1", "success depth 2", "auc", "pass@2"} <= set(own[-1].numbers)
    # Two seeds of one arm are two runs; the same plan again is the same runs.
    assert len(list(tmp_path.glob("stages/rl-*"))) == 3
    again = run_plan(
        Session(Lab(tmp_path, Streams(0)), task),
        arms(),
        PlanSizes(seeds=2, lrs=(1e-3, 3e-3)),
        numbers_on_test(2),
    )
    assert [one.to_json() for one in again] == [one.to_json() for one in found]
    assert len(list(tmp_path.glob("stages/rl-*"))) == 3


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_shares_of_a_plan_divide_its_rates_and_seeds(tmp_path, workers):
    """Every rate is trained and every seed evaluated, each of them in one share alone."""
    task = embedded_task(Lab(tmp_path, Streams(0)), "chain", FEW)
    evaluated, scored = [], []

    def arm(name):
        def train(session, lr):
            return name, session.seed, lr

        return Arm(name=name, train=train)

    def score(session, model):
        scored.append(model)
        return -model[2]

    for share in range(workers):
        with pytest.raises(ShareDone):
            run_plan(
                Session(Lab(tmp_path, Streams(0), share=(share, workers)), task),
                [arm("a"), arm("b"), arm("c")],
                PlanSizes(seeds=3, lrs=(1.0, 2.0)),
                lambda _, model: evaluated.append(model) or {},
                score=score,
            )
    assert sorted(evaluated) == [(name, seed, 1.0) for name in "abc" for seed in range(3)]
    assert {(name, 0, lr) for name in "abc" for lr in (1.0, 2.0)} <= set(scored)
    # Twin: less than all shares leave something out.
    evaluated.clear()
    for share in range(workers - 1):
        with pytest.raises(ShareDone):
            run_plan(
                Session(Lab(tmp_path, Streams(0), share=(share, workers)), task),
                [arm("a")],
                PlanSizes(seeds=9, lrs=(1.0,)),
                lambda _, model: evaluated.append(model) or {},
                score=score,
            )
    assert len(evaluated) < 9


def test_two_arms_of_one_name_are_refused(tmp_path):
    lab = Lab(tmp_path, Streams(0))
    with pytest.raises(UsageError, match="the same name"):
        run_plan(
            Session(lab, embedded_task(lab, "chain", FEW)),
            [base_arm(), base_arm()],
            PlanSizes(seeds=1, lrs=(1,)),
            numbers_on_test(1),
        )


def test_a_contrast_is_students_interval_over_paired_seeds():
    a, b = [0.5, 0.7, 0.6], [0.4, 0.3, 0.5]
    found = contrast([*runs_of("a", a), *runs_of("b", b)], "a", "b", "x")
    gaps = np.subtract(a, b)
    low, high = stats.t.interval(0.95, 2, gaps.mean(), stats.sem(gaps))
    assert (found.value, found.low, found.high) == pytest.approx((gaps.mean(), low, high))
    assert found.seeds == 3
    expected = (stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2)) * stats.sem(gaps)
    assert found.smallest == pytest.approx(expected)
    # Twin: unpaired arms of the same numbers have a wider interval here; pairing is what is used.
    unpaired = stats.ttest_ind(a, b).confidence_interval()
    assert not math.isclose(unpaired.low, found.low, rel_tol=1e-3)


def test_three_seeds_are_a_lead_and_a_replicate_is_no_difference():
    sure = np.array([0.2, 0.21, 0.19])
    assert over_seeds("x", sure).reading == "lead"
    assert over_seeds("x", np.resize(sure, FINDING_SEEDS)).reading == "finding"
    assert over_seeds("x", sure - sure.mean()).reading == "no difference seen"
    assert over_seeds("x", np.zeros(3)).reading == "no difference seen"


def test_one_seed_has_no_interval_and_none_has_no_value():
    one = over_seeds("x", np.array([0.3]))
    assert one.value == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert one.reading == "no difference seen"
    none = over_seeds("x", np.array([math.nan]))
    assert none.seeds == 0
    assert math.isnan(none.value)


def test_rates_that_were_not_chosen_are_not_read():
    found = [*runs_of("a", [0.1, 0.2]), *runs_of("a", [0.9], chosen=False)]
    assert level(found, "a", "x").value == pytest.approx(0.15)
    assert level(found, "a", "x").reading == "", "a level is no difference"
    with pytest.raises(UsageError, match="ran no arm"):
        values(found, "b", "x")


def test_the_t_interval_covers_what_it_says():
    rng = np.random.default_rng(0)
    inside = [(found := over_seeds("x", rng.normal(0.3, 1, 3))).low <= 0.3 <= found.high for _ in range(2000)]
    assert 0.93 <= np.mean(inside) <= 0.97
    # Twin: a normal interval on three seeds covers far less.
    draws = rng.normal(0.3, 1, (2000, 3))
    reach = 1.96 * draws.std(1, ddof=1) / math.sqrt(3)
    assert np.mean(np.abs(draws.mean(1) - 0.3) <= reach) < 0.9


def test_the_interval_of_a_share_stays_between_its_ends():
    runs = [
        ArmRun(
            arm=arm,
            lr=1e-3,
            seed=seed,
            chosen=True,
            validation=0.0,
            numbers={"success": success, "length": length},
        )
        for arm, rows in (
            ("a", ((0.0, 4.0), (1.0, 9.0), (0.9, 2.0))),
            ("b", ((0.1, 3.0), (0.0, 3.0), (0.0, 3.0))),
        )
        for seed, (success, length) in enumerate(rows)
    ]
    share = contrast(runs, "a", "b", "success")
    assert -1.0 <= share.low < share.value < share.high == 1.0
    assert level(runs, "a", "success").high == 1.0
    assert contrast(runs, "a", "b", "length").high > 2, "a length has no such ends"
    assert not is_rate("accuracy gained")
    assert not is_rate("pass@16, first half")


def test_the_best_rival_is_chosen_seed_by_seed():
    runs = [*runs_of("own", [0.6, 0.6, 0.9]), *runs_of("a", [0.5, 0.1, 0.2]), *runs_of("b", [0.1, 0.4, 0.2])]
    found = against_best(runs, "own", ("a", "b"), "x")
    assert found.value == pytest.approx(np.mean([0.1, 0.2, 0.7]))
    assert found.name == "x: own - the better of a and b"
    assert found.value < min(contrast(runs, "own", rival, "x").value for rival in "ab")
    cost = against_best(runs, "own", {"a at its x": ("a", "x"), "b": ("b", "x")}, "x", smaller_is_better=True)
    assert cost.value == pytest.approx(np.mean([0.1 - 0.6, 0.1 - 0.6, 0.2 - 0.9]))
    assert cost.name == "x: least of a at its x, b - own"


@pytest.mark.parametrize(
    ("study", "arm", "rivals", "number", "smaller"),
    [
        ("rl-needs-the-edge", "edge", ("in", "hard"), "success depth 3", False),
        ("steps-unlock-hard-problems", "SRL", ("RLVR", "SFT on steps"), "success", False),
        ("imitate-beside-rl", "CHORD, phi", None, "success", False),
        (
            "degrpo-learns-when-to-think",
            "DeGRPO",
            {
                "GRPO": ("GRPO", "regret"),
                "always think": ("DeGRPO", "always_think"),
                "never think": ("DeGRPO", "always_short"),
            },
            "regret",
            True,
        ),
    ],
)
def test_the_committed_effects_follow_from_the_committed_runs(study, arm, rivals, number, smaller):
    ((_, table),) = shipped_runs(study)
    own = ("arm", "lr", "seed", "chosen", "validation")
    runs = [
        ArmRun(
            **{key: math.nan if row[key] is None else row[key] for key in own},
            numbers={key: math.nan if value is None else value for key, value in row.items() if key not in own},
        )
        for row in table["rows"]
    ]
    committed = next(line for line in table["contrasts"] if line["key"] == "effect")
    rivals = rivals or committed["name"].split("the better of ")[1].split(" and ")
    found = against_best(runs, arm, rivals, number, smaller_is_better=smaller).to_json()
    assert found["name"] == committed["name"]
    assert (found["seeds"], found["reading"]) == (committed["seeds"], committed["reading"])
    for end in ("value", "low", "high", "smallest"):
        assert found[end] == pytest.approx(committed[end], abs=1e-4), end


def share_runs(arm, found, *, problems=None, number="success"):
    counts = {"": 40, "depth 3": 10} if problems is None else problems
    return [
        ArmRun(
            arm=arm, lr=1e-3, seed=seed, chosen=True, validation=0.0, numbers={number: value}, problems=counts
        )
        for seed, value in enumerate(found)
    ]


def test_seeds_that_agree_give_the_interval_over_problems_and_no_certainty():
    """Width 0 says that three seeds gave one number, not that no other number could be."""
    runs = [*share_runs("RL", [0.4] * 3), *share_runs("base", [0.4] * 3)]
    found = contrast(runs, "RL", "base", "success")
    assert (found.value, found.basis, found.seeds) == (0.0, "problems", 3)
    assert (found.low, found.high) == pytest.approx(difference_of_shares(0.4, 0.4, 40))
    assert found.smallest == pytest.approx(
        (found.high - found.low) / 2 / 1.959964 * (1.959964 + 0.841621), rel=1e-5
    )
    assert found.to_json()["basis"] == "problems"
    of_one = level(share_runs("base", [0.0]), "base", "success")
    assert (of_one.low, of_one.high) == pytest.approx(jeffreys(0.0, 40))
    # Of a cell there are fewer problems, and its interval is wider.
    cell = level(share_runs("base", [0.0], number="success depth 3"), "base", "success depth 3")
    assert (cell.low, cell.high) == pytest.approx(jeffreys(0.0, 10))


def test_seeds_that_differ_keep_their_own_interval():
    runs = [*share_runs("RL", [0.4, 0.5, 0.6]), *share_runs("base", [0.4] * 3)]
    found = contrast(runs, "RL", "base", "success")
    assert found.basis == ""
    assert "basis" not in found.to_json()


@pytest.mark.parametrize(("number", "problems"), [("length", None), ("success", {})])
def test_what_is_no_share_or_of_unknown_problems_gets_no_interval_from_them(number, problems):
    runs = share_runs("RL", [0.4] * 3, number=number, problems=problems)
    assert level(runs, "RL", number).basis == ""


def test_a_plan_notes_the_problems_behind_each_number(tmp_path):
    task = embedded_task(Lab(tmp_path, Streams(0)), "chain", FEW)
    sizes = PlanSizes(seeds=1, lrs=(1e-3,))
    (found,) = run_plan(Session(Lab(tmp_path, Streams(0)), task), [base_arm()], sizes, numbers_on_test(2))
    assert [found.behind(name) for name in ("success", "success depth 1", "pass@2")] == [6, 3, 6]
