"""Step-wise problems: cut by hand, shuffled without fixed points, graded by the expert's very step."""

from dataclasses import replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions, encoded, supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.srl import METHOD, SrlConfig, hard, limit, step_rows, targets, train
from keyturn.methods.srl.steps import (
    Layout,
    StepGrader,
    cut_at,
    ending_tokens,
    layout_of,
    shuffled_targets,
    step_problems,
    steps_of,
)
from keyturn.rewards.contract import Graded, rewards_of
from keyturn.rewards.step_similarity import StepSimilarityConfig, step_similarity

WORLD = Layout(ends=";", glue=" ")


@pytest.fixture(scope="module")
def task():
    return shipped_task("chain")


def asked(count=3):
    pairs = [
        (Problem(id=f"p{i}", prompt=f"BOS CH f g {i} ?"), f"f {i} {i + 1} ; g {i + 1} 0 ; ANS 0")
        for i in range(count)
    ]
    return step_problems(pairs, WORLD)


def test_steps_keep_their_end_and_lose_nothing():
    text = "f 3 4 ; g 4 2 ; ANS 2"
    assert steps_of(text, ";") == ("f 3 4 ;", "g 4 2 ;", "ANS 2")
    assert " ".join(steps_of(text, ";")) == text
    assert steps_of("1. add\n\n2. halve\n", "\n") == ("1. add", "2. halve")
    assert steps_of("  \n", "\n") == ()


def test_prompts_hold_the_steps_before_and_not_the_one_that_is_asked():
    found = asked(1)
    assert [one.prompt for one in found] == [
        "BOS CH f g 0 ?",
        "BOS CH f g 0 ? f 0 1 ;",
        "BOS CH f g 0 ? f 0 1 ; g 1 0 ;",
    ]
    assert [one.facts["step"] for one in found] == ["f 0 1 ;", "g 1 0 ;", "ANS 0"]
    # A twin that is one step ahead shows what it asks for.
    twin = [found[min(i + 1, 2)].prompt for i in range(3)]
    assert any(str(one.facts["step"]) in prompt for one, prompt in zip(found, twin, strict=True))
    assert not any(one.prompt.endswith(str(one.facts["step"])) for one in found)


def test_plain_text_is_asked_for_the_next_step_in_words():
    found = step_problems([(Problem(id="p", prompt="x?"), "a\nb")], Layout(ends="\n", glue="\n", asks="Next:"))
    assert [one.prompt for one in found] == ["x?\nNext:", "x?\na\nNext:"]


def test_shuffled_targets_stay_at_their_place_and_none_at_its_problem():
    found = asked(5)
    made = shuffled_targets(found, Streams(0))
    for place in (1, 2, 3):
        own = [i for i, one in enumerate(found) if one.cell["step"] == place]
        before, after = ([str(set_[i].facts["step"]) for i in own] for set_ in (found, made))
        assert sorted(before) == sorted(after)
    first = [i for i, one in enumerate(found) if one.cell["step"] == 1]
    assert all(found[i].facts["step"] != made[i].facts["step"] for i in first)
    # A plain permutation, the twin, leaves some target where it was for some seed.
    fixed = [np.random.default_rng(seed).permutation(5) == np.arange(5) for seed in range(9)]
    assert np.any(fixed)
    with pytest.raises(InputError, match="shuffling needs"):
        shuffled_targets(asked(1), Streams(0))


def test_completions_are_cut_behind_their_first_end(task):
    texts = ("f 3 4 ; g 4 2 ; ANS 2", "ANS 2", "; f 3 4 ; g")
    drawn = demonstration_completions(
        task.base, [(Problem(id=f"{i}", prompt="BOS CH f 3 ?"), text) for i, text in enumerate(texts)]
    )
    cut = cut_at(drawn, ending_tokens(task.base, ";"), task.base)
    assert cut.texts == ("f 3 4 ;", "ANS 2", "; f 3 4 ;")
    assert cut.lengths.tolist() == [4, 3, 5]
    for index in range(3):
        assert cut.row(index).tolist() == drawn.row(index)[: cut.lengths[index]].tolist()
    # The twin that cuts at the last end keeps the second step.
    last = max(i for i, token in enumerate(drawn.row(0).tolist()) if token in ending_tokens(task.base, ";"))
    assert last + 1 != cut.lengths[0]
    again = cut_at(cut, ending_tokens(task.base, ";"), task.base)
    assert again.tokens.tolist() == cut.tokens.tolist()


def test_the_grader_wants_the_very_step_and_the_reward_its_likeness(task):
    problems = asked(1)[:1]
    settings = StepSimilarityConfig(marker="")
    pairs = [(problems[0], text) for text in ("f 0 1 ;", "f 0 2 ;", "g 1 5 ;")]
    given = replace(
        demonstration_completions(task.base, pairs),
        problem=np.zeros(3, np.int32),
        draw=np.arange(3, dtype=np.int32),
    )
    grades = StepGrader(settings).grade(problems, given)
    assert grades.outcome.tolist() == [1, 0, 0]
    assert not np.isfinite(grades.verified).any()
    paid = rewards_of(
        step_similarity(settings),
        Graded(problems=problems, completions=given, grades=grades, streams=Streams(0)),
    )
    assert paid[:2] == pytest.approx([1, 12 / 14])
    assert paid[2] < paid[1]


def test_hard_problems_are_those_that_no_draw_solved(task, tmp_path):
    lab = Lab(tmp_path, Streams(0))
    every = hard(Session(lab, task), SrlConfig(hard_draws=0)).problems
    kept = hard(Session(lab, task), SrlConfig(hard_draws=4)).problems
    assert every == task.train.problems
    assert 0 < len(kept) < len(every)
    # The base knows single maps: hardly one of them is hard.
    assert sum(one.cell["depth"] == 1 for one in kept) <= 2


def test_the_three_targets_and_what_a_step_may_be_long(task, tmp_path):
    lab = Lab(tmp_path, Streams(0))
    some = task.train.problems[-3:]
    steps = targets(Session(lab, task), SrlConfig(), some)
    whole = targets(Session(lab, task), SrlConfig(targets="whole"), some)
    assert len(steps) == 9
    assert len(whole) == 3
    assert limit(task, SrlConfig(), steps) == 5
    assert limit(task, SrlConfig(), whole) == len(encoded(task.base, str(whole[0].facts["step"])))
    assert layout_of(task).ends == ";"
    assert all("EOS" not in str(one.facts["step"]) for one in (*steps, *whole))
    with pytest.raises(UsageError, match="targets"):
        train(Session(lab, task), SrlConfig(targets="halves", hard_draws=0))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="learn"):
        train(Session(lab, task), SrlConfig(learn="guess", hard_draws=0))  # type: ignore[arg-type]


def test_imitated_steps_end_the_text_behind_the_last_one_alone(task, tmp_path):
    steps = targets(Session(Lab(tmp_path, Streams(0)), task), SrlConfig(), task.train.problems[-2:])
    end = task.base.ends[0]
    rows = step_rows(task, steps)
    assert [row.tokens[-1] == end for row in rows] == [False, False, True] * 2
    learnt = [row.tokens[row.weights > 0].tolist() for row in rows]
    assert learnt[:2] == [encoded(task.base, str(step.facts["step"]))[:-1] for step in steps[:2]]
    # The twin that fits every step as a text of its own teaches to stop after one.
    twin = supervised(task.base, [(step, str(step.facts["step"])) for step in steps])
    assert all(row.tokens[-1] == end for row in twin)


@pytest.mark.slow
def test_both_ways_to_learn_steps_change_the_policy(task, tmp_path):
    brief = METHOD.brief(SrlConfig(train_problems=0, hard_draws=0))
    lab = Lab(tmp_path, Streams(0))
    made = {
        learn: train(Session(lab, task), replace(brief, learn=learn))["policy"]
        for learn in ("reinforce", "imitate")
    }
    names = {task.base.fingerprint, *(model.policy.fingerprint for model in made.values())}
    assert len(names) == 3
    assert made["reinforce"].history
