"""Rewards by hand, and what the loop refuses to take for a reward."""

from dataclasses import replace

import numpy as np
import pytest

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.rewards import REWARDS
from keyturn.rewards.contract import Graded, Reward, rewards_of
from keyturn.rewards.outcome import OutcomeConfig, outcome
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Grades

NAN = float("nan")


def completions(rows=4):
    return Completions(
        policy="p",
        prompts=Prompts.build(["a"], ["?"], [[1]]),
        problem=np.zeros(rows, np.int32),
        draw=np.arange(rows, dtype=np.int32),
        tokens=np.arange(rows, dtype=np.int32),
        offsets=np.arange(rows + 1, dtype=np.int64),
        logprobs=np.zeros(rows, np.float32),
        entropies=np.zeros(rows, np.float32),
        stop=np.zeros(rows, np.uint8),
        texts=("",) * rows,
    )


GRADES = Grades(
    outcome=np.array([1, 1, 0, NAN], np.float32),
    verified=np.array([1, 0, 0, NAN], np.float32),
    answer=("3", "3", "2", ""),
    columns={"process": np.array([1.0, 0.5, 0.5, NAN], np.float32)},
)


def given(reward, drawn=None, grades=GRADES):
    asked = (Problem(id="a", prompt="?", answer="3"),)
    graded = Graded(problems=asked, completions=drawn or completions(), grades=grades, streams=Streams(0))
    return rewards_of(reward, graded)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (outcome(), [1, 1, 0, NAN]),
        (outcome(OutcomeConfig(wrong=-1.0)), [1, 1, -1, NAN]),
        (process(), [1, 0.75, 0.25, NAN]),
        (process(ProcessConfig(alpha=0.2)), [1, 0.6, 0.4, NAN]),
        (process(ProcessConfig(alpha=1.0)), [1, 1, 0, NAN]),
        (process(ProcessConfig(strict=True)), [1, 0, 0, NAN]),
    ],
)
def test_by_hand(reward, expected):
    found = given(reward)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_gives_one_number_a_row_and_keeps_ungraded_rows_ungraded(name):
    reward = REWARDS[name]()
    assert reward.name == name
    found = given(reward)
    assert found.shape == (4,)
    assert list(np.isnan(found)) == [False, False, False, True]
    assert reward.summary
    assert reward.source


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_follow_their_rows(name):
    reward = REWARDS[name]()
    order = np.array([2, 0, 3, 1])
    moved = replace(
        GRADES,
        outcome=GRADES.outcome[order],
        verified=GRADES.verified[order],
        columns={"process": GRADES.columns["process"][order]},
    )
    np.testing.assert_array_equal(given(reward, completions().select(order), moved), given(reward)[order])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "NoneType"),
        ("1111", "str"),
        (1.0, "float"),
        ([1.0, 0.0], "2 numbers for 4 completions"),
        ([1.0, None, 0.0, 0.0], "None"),
        ([1.0, 0.0, "1", 0.0], "'1' (str) for row 2"),
        ([1.0, 0.0, 0.0, np.bool_(True)], "row 3"),
        (np.array([1.0, 0.0, np.inf, 0.0]), "inf"),
        (np.array([1e30, 0, 0, 0]), "row 0"),
    ],
)
def test_what_is_not_a_reward_is_refused_by_name(value, says):
    reward = Reward(name="mine", summary="", source="", reward=lambda *_: value)
    with pytest.raises(InputError, match="'mine'") as refused:
        given(reward)
    assert says in str(refused.value)


def test_process_needs_a_grader_that_reads_traces():
    with pytest.raises(InputError, match="reads traces"):
        given(process(), grades=replace(GRADES, columns={}))


def test_alpha_outside_its_range_is_refused():
    with pytest.raises(UsageError, match="alpha"):
        process(ProcessConfig(alpha=1.5))
