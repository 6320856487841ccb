"""Classes of cells by hand, validation watched while a run goes on, resets and the rule that ends it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.lab.tables import accuracy
from keyturn.methods.prorl import ProrlConfig, hooks
from keyturn.methods.prorl.stagnation import ResetWhen, Stagnation, StopAfterPlateau, Validate
from keyturn.methods.prorl.sustained import classify, label_of
from keyturn.methods.sft_then_rl import TINY_RL
from keyturn.objectives.by_name import objective_named
from keyturn.policies.protocol import Limits
from keyturn.rewards.by_name import reward_named
from keyturn.rollouts.grades import Answers

NAN = float("nan")
K = 8


def given(rates, draws=K):
    """Answers where each problem succeeds in ``round(rate * draws)`` of its draws; (cell, rate) a problem."""
    problems = tuple(Problem(id=str(i), prompt="", cell={"depth": cell}) for i, (cell, _) in enumerate(rates))
    right = [[1.0] * round(rate * draws) + [0.0] * (draws - round(rate * draws)) for _, rate in rates]
    rows = len(rates) * draws
    return Answers(
        policy="p",
        problems=problems,
        problem=np.repeat(np.arange(len(rates), dtype=np.int32), draws),
        draw=np.tile(np.arange(draws, dtype=np.int32), len(rates)),
        outcome=np.array(right, np.float32).ravel(),
        verified=np.full(rows, NAN, np.float32),
        answer=("",) * rows,
        length=np.ones(rows, np.int32),
        truncated=np.zeros(rows, bool),
    )


def cells(**shares):
    """For each cell, 20 problems of which a share is solved, each in a share of its draws."""
    out = []
    for depth, (solved, rate) in enumerate(shares.values()):
        count = round(20 * solved)
        out += [(depth, rate)] * count + [(depth, 0.0)] * (20 - count)
    return given(out)


def test_each_class_from_cells_that_show_it():
    base = cells(a=(1.0, 0.25), b=(0.3, 0.5), c=(0.1, 0.5), d=(1.0, 0.5))
    middle = cells(a=(1.0, 0.5), b=(0.8, 0.5), c=(0.1, 0.75), d=(1.0, 0.5))
    final = cells(a=(0.9, 1.0), b=(0.8, 0.75), c=(0.7, 1.0), d=(1.0, 0.5))
    found = classify(base, middle, final, Streams(0), k=K)
    assert [one.cell for one in found] == ["depth 0", "depth 1", "depth 2", "depth 3"]
    # The last one never changed and solves all: not diminished, nothing rose at one draw.
    assert [one.label for one in found] == ["diminish", "plateau", "sustained", "undecided"]
    assert [one.problems for one in found] == [20] * 4
    assert found[1].first.value == pytest.approx(0.5)
    assert found[1].second == Estimate(0.0, 0.0, 0.0)
    assert found[2].whole.value == pytest.approx(0.6)
    assert found[0].one.value == pytest.approx(0.65)


def test_a_twin_that_reads_pass_at_one_calls_the_diminished_cell_sustained():
    base, middle, final = cells(a=(1.0, 0.25)), cells(a=(1.0, 0.5)), cells(a=(1.0, 1.0))
    assert classify(base, middle, final, Streams(0), k=K)[0].label == "diminish"
    assert classify(base, middle, final, Streams(0), k=1)[0].label == "sustained"


def test_wide_intervals_decide_nothing():
    zero, wide, up = Estimate(0, 0, 0), Estimate(0.1, -0.1, 0.3), Estimate(0.2, 0.1, 0.3)
    assert label_of(up, up, zero, up, 0.03) == "plateau"
    assert label_of(up, up, wide, up, 0.03) == "undecided"
    assert label_of(up, wide, up, up, 0.03) == "sustained"
    assert label_of(up, up, zero, wide, 0.03) == "plateau"
    assert label_of(up, wide, wide, Estimate(0, -0.1, 0.02), 0.03) == "diminish"
    assert label_of(wide, wide, wide, Estimate(0, -0.1, 0.02), 0.03) == "undecided"
    nothing = Estimate(NAN)
    assert label_of(nothing, nothing, nothing, nothing, 0.03) == "undecided"


def test_too_few_draws_or_problems_are_left_out_and_counted():
    few = given([(0, 0.5)] * 3, draws=4)
    assert [(c.label, c.problems) for c in classify(few, few, few, Streams(0), k=K)] == [("undecided", 0)]
    one = given([(0, 0.5)])
    assert classify(one, one, one, Streams(0), k=K)[0].label == "undecided"
    with pytest.raises(InputError, match="different problems"):
        classify(few, few, one, Streams(0), k=2)


def test_a_curve_stagnates_after_patience_without_progress():
    curve = Stagnation(patience=2, margin=0.1)
    assert [curve.seen(x) for x in (0.0, 0.05, 0.2, 0.25, NAN, 0.3, 0.31)] == [False] * 5 + [True, False]
    curve.begin(0.1)
    assert [curve.seen(x) for x in (0.15, 0.18)] == [False, True]


class Steps:
    """What the hooks see of a loop."""

    def __init__(self):
        self.step, self.stopped, self.measured, self.did = 0, "", {}, []

    def stop(self, reason):
        self.stopped = reason

    def reset_reference(self):
        self.did.append((self.step, "reference"))

    def reset_optimiser(self):
        self.did.append((self.step, "optimiser"))


def play(curve, make):
    """Feed a curve; the hook is restored from its state at every step, as after an interruption."""
    loop, hook = Steps(), make()
    for value in curve:
        loop.step += 1
        hook.after_step(loop, {} if math.isnan(value) else {"validation": value})
        state = hook.state()
        hook = make()
        hook.restore(state)
        if loop.stopped:
            break
    return loop


def test_what_is_reset_and_when():
    curve = [0.1, NAN, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5]
    both = play(curve, lambda: ResetWhen(patience=2))
    assert both.did == [(4, "reference"), (4, "optimiser"), (7, "reference"), (7, "optimiser")]
    assert play(curve, lambda: ResetWhen(patience=2, reference=False)).did == [
        (4, "optimiser"),
        (7, "optimiser"),
    ]
    assert play([0.1, 0.2, 0.3, 0.4], lambda: ResetWhen(patience=2)).did == []


def test_a_run_ends_at_ten_times_its_plateau():
    loop = play([0.1, 0.2, 0.2, 0.2] + [0.9] * 60, lambda: StopAfterPlateau(patience=2, times=10))
    assert loop.measured["plateau"] == 4.0
    assert loop.step == 40
    assert not play([i / 100 for i in range(60)], lambda: StopAfterPlateau(margin=0.005)).stopped


def test_each_arm_has_its_hooks():
    task = shipped_task("chain")
    found = {
        arm: [type(hook).__name__ for hook in hooks(task, ProrlConfig(arm=arm), TINY_RL, Streams(0))]
        for arm in ("none", "fixed", "reference", "optimiser")
    }
    assert found["none"] == found["fixed"] == ["Validate", "KeepAt"]
    assert found["reference"] == found["optimiser"] == ["Validate", "KeepAt", "ResetWhen"]
    last = hooks(task, ProrlConfig(arm="reference"), TINY_RL, Streams(0))[-1]
    assert (last.reference, last.optimiser) == (True, False)


@pytest.mark.slow
def test_validation_is_that_of_the_policy_and_a_reset_moves_the_reference(tmp_path):
    task = shipped_task("chain")
    streams = Streams(5)
    settings = replace(TINY_RL, steps=3, prompts=8, draws=4, lr=1e-3, max_new_tokens=16)
    seen = []

    class Look(ResetWhen):
        def after_step(self, loop, row):
            super().after_step(loop, row)
            seen.append((loop.reference_step, row["validation"]))

    def made():
        watch = Validate(
            problems=task.validation, streams=streams, limits=Limits(max_new_tokens=16), every=1, draws=4
        )
        return (watch, Look(patience=1, margin=2.0, optimiser=False))

    lab = Lab(tmp_path, streams)
    model = Session(lab, task).rl(
        base_of(task),
        objective=objective_named("grpo", kl_weight=0.01),
        reward=reward_named("outcome"),
        config=settings,
        hooks=made,
    )
    assert [step for step, _ in seen] == [-1, 2, 3]
    rows = model.history
    assert [row["validation"] for row in rows] == [value for _, value in seen]
    assert [row.get("reset") for row in rows] == [None, 1.0, 1.0]
    again = Session(lab, replace(task, max_new_tokens=16)).answers(model, task.validation, 4, name="validation")
    assert rows[-1]["validation"] == pytest.approx(accuracy(again, streams).value)
