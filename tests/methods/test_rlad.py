"""RLAD: abstractions are set apart before the verdict, prompts without are not paid, leaks are dropped."""

from dataclasses import replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.lab.fit_rows import demonstration_completions, supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session, base_of
from keyturn.methods.rlad import METHOD, gated, hinted, prepared, sealed, started, unseen, useful
from keyturn.rewards.contract import Graded

CONFIG = METHOD.brief(METHOD.profiles["demo"])


@pytest.fixture(scope="module")
def task():
    return prepared(shipped_task("graph"))


def test_an_answer_is_judged_by_the_problem_without_its_abstraction(task):
    problem = task.train.problems[0]
    gold = task.expert(problem, Streams(0))
    asked = (problem, hinted(problem, "BWD"), unseen(problem, "BWD"))
    drawn = demonstration_completions(task.base, [(one, gold) for one in asked])
    assert task.train.grader.grade(asked, drawn).verified.tolist() == [1.0, 1.0, 1.0]
    other = next(p for p in task.train.problems if p.answer != problem.answer)
    asked = (hinted(other, "BWD"), unseen(other, ""))
    drawn = demonstration_completions(task.base, [(one, gold) for one in asked])
    assert task.train.grader.grade(asked, drawn).outcome.tolist() == [0.0, 0.0]
    assert problem.prompt not in unseen(problem, "BWD").prompt
    assert hinted(problem, "") is problem


def test_prompts_without_an_abstraction_are_not_paid(task):
    problem = task.train.problems[0]
    gold = task.expert(problem, Streams(0))
    asked = (problem, hinted(problem, "FWD"))
    drawn = demonstration_completions(task.base, [(one, gold) for one in asked])
    graded = Graded(
        problems=asked,
        completions=drawn,
        grades=task.train.grader.grade(asked, drawn),
        streams=Streams(0),
    )
    assert gated(zeroed=True).reward(graded).tolist() == [0.0, 1.0]
    # The broken twin is the arm that pays both.
    assert gated(zeroed=False).reward(graded).tolist() == [1.0, 1.0]


def test_useful_abstractions_by_hand():
    assert useful([0.25, 0.75, 0.75], 0.5, 0.0) == [1, 2]
    assert useful([0.25, 0.5], 0.5, 0.25) == []
    assert useful([0.0, 0.0], 0.0, 0.0) == []
    assert useful([], 0.0, 0.0) == []


@pytest.mark.slow
def test_an_abstraction_that_gives_the_answer_away_is_dropped(task, tmp_path):
    lab = Lab(tmp_path, Streams(0))
    problem = next(p for p in task.train.problems if p.answer == "1")
    # A solver that answers, without the problem, with the value that the abstraction says.
    pairs = [(unseen(problem, z), f"DIR ANS {a}") for z, a in (("1", "1"), ("BWD", "2"), ("", "2"))]
    fit = replace(CONFIG.fit, steps=40, batch_rows=3, lr=3e-3)
    solver = Session(lab, task).fit(base_of(task), supervised(task.base, pairs), fit)
    config = replace(CONFIG, solutions=8)
    assert sealed(Session(lab, task), solver, config, [problem], [["1", "BWD", "BWD", ""]]) == [["BWD"]]
    assert sealed(Session(lab, task), solver, config, [problem], [[]]) == [[]]


def test_a_strategy_that_the_world_lacks_is_refused(task, tmp_path):
    with pytest.raises(UsageError, match="XYZ"):
        started(Session(Lab(tmp_path, Streams(0)), task), replace(CONFIG, words=("XYZ",)))
    assert np.all([p.facts.get("z") is None for p in task.train.problems])
