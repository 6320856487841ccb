"""When training is saturated, which later policy is chosen, and a run that stops long after; policies kept."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_task import shipped_task

from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.methods.one_shot.saturation import StopAfterSaturation, best_later, saturation_step
from keyturn.methods.sft_then_rl import TINY_RL, shortened
from keyturn.methods.snapshots import KeepAt, kept_policies
from keyturn.objectives.by_name import objective_named
from keyturn.policies.loading import load_policy, world_of
from keyturn.rewards.by_name import reward_named

NAN = float("nan")


class Steps:
    """What the hook sees of a loop."""

    def __init__(self):
        self.step, self.stopped, self.measured = 0, "", {}

    def stop(self, reason):
        self.stopped = reason


def online(accuracy, hook):
    """Feed a curve to the hook as the loop does; (saturated at, stopped after)."""
    loop = Steps()
    for value in accuracy:
        loop.step += 1
        hook.after_step(loop, {"outcome": value})
        if loop.stopped:
            break
    return loop.measured.get("saturated"), loop.step if loop.stopped else None


def test_saturation_is_the_first_step_of_a_stretch():
    assert saturation_step([0, 1, 1, 0, 1, 1, 1], window=3) == 4
    assert saturation_step([1, 1, 1], window=3) == 0
    assert saturation_step([0, 1, 1], window=3) is None
    assert saturation_step([0.99, NAN, 0.99, 1.0], window=2) == 2
    assert saturation_step([], window=1) is None


def test_the_best_later_policy_is_chosen_on_validation_and_never_before_saturation():
    choice = best_later({10: 0.9, 20: 0.5, 30: 0.7, 40: 0.7}, 15)
    assert (choice.saturated, choice.best) == (20, 30)
    assert best_later({10: 0.9, 20: NAN}, 15) is None
    # The twin that looks at all policies takes the one before saturation.
    twin = max({10: 0.9, 20: 0.5}, key={10: 0.9, 20: 0.5}.get)
    assert twin != best_later({10: 0.9, 20: 0.5}, 15).best


@given(st.lists(st.sampled_from([0.0, 0.98, 0.99, 1.0]), max_size=40), st.integers(1, 4))
def test_the_hook_finds_the_step_that_the_function_finds(curve, window):
    found, _ = online(curve, StopAfterSaturation(window=window, times=1e9))
    expected = saturation_step(curve, window=window)
    assert found == (None if expected is None else float(expected))


def test_the_run_ends_at_a_multiple_of_saturation():
    curve = [0.0] * 4 + [1.0] * 60
    assert online(curve, StopAfterSaturation(window=3, times=5)) == (4.0, 20)
    # Saturated from the start: the window is still waited for.
    assert online([1.0] * 9, StopAfterSaturation(window=3, times=5)) == (0.0, 3)
    assert online([0.0] * 30, StopAfterSaturation(window=3, times=5)) == (None, None)


def test_the_state_of_the_hook_survives_an_interruption():
    curve = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    first, second = (StopAfterSaturation(window=3, times=4) for _ in range(2))
    loop = Steps()
    for value in curve:
        loop.step += 1
        first.after_step(loop, {"outcome": value})
        second.restore(first.state())
        first, second = second, StopAfterSaturation(window=3, times=4)
    assert loop.stopped
    assert loop.step == 7
    assert loop.measured["saturated"] == 1.0


@pytest.mark.slow
def test_policies_of_the_way_are_those_that_a_shorter_run_ends_with(tmp_path):
    task = shipped_task("chain")
    settings = shortened(replace(TINY_RL, lr=1e-3))

    def run(steps, folder, hooks=tuple):
        return Session(Lab(tmp_path / folder, Streams(0)), task).rl(
            base_of(task),
            objective=objective_named("grpo"),
            reward=reward_named("outcome"),
            config=replace(settings, steps=steps, prompts=8, draws=8),
            hooks=hooks,
        )

    long = run(3, "long", lambda: (KeepAt(steps=(1, 2)),))
    found = kept_policies(task, long)
    assert list(found) == [1, 2]
    assert world_of(found[1].path) == task.world
    for step in (1, 2):
        assert found[step].policy.fingerprint == run(step, f"short {step}").policy.fingerprint
    assert load_policy(found[2].path).fingerprint != task.base.fingerprint
    assert found[2].policy.fingerprint != long.policy.fingerprint
