"""Theory of mind: accuracy and trace F1 are told apart, and sizes are what their width says."""

from dataclasses import replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.experiments.theory_of_mind import EXPERIMENT, size_of, task_of, traced
from keyturn.lab.fit_rows import demonstration_completions
from keyturn.lab.lab import Lab
from keyturn.lab.task import world_expert
from keyturn.methods.control_words import controlled
from keyturn.problems.contract import answers
from keyturn.problems.world.grader import problem_set
from keyturn.problems.world.worlds import world_named

WORLD = world_named("belief")


@pytest.fixture(scope="module")
def asked():
    cells = [{"domain": "belief", "order": order, "moves": 2, "surface": "balanced"} for order in (1, 2)]
    return problem_set(WORLD, "test", cells, 2, Streams(0))


def judged(asked, texts):
    base = shipped_task("chain").base
    drawn = demonstration_completions(base, list(zip(asked.problems, texts, strict=True)))
    return drawn, asked.grader.grade(asked.problems, drawn)


def test_right_answers_without_a_trace_have_no_f1(asked):
    expert = world_expert(WORLD)
    full = [expert(problem, Streams(0)) for problem in asked.problems]
    short = [f"DIR ANS {problem.answer}" for problem in asked.problems]
    table = traced(answers("traces", asked.problems, *judged(asked, full)))
    assert (table["accuracy"], table["trace F1"], table["direct"]) == (1.0, 1.0, 0.0)
    assert np.isnan(table["right without its trace"])
    table = traced(answers("answers", asked.problems, *judged(asked, short)))
    assert (table["accuracy"], table["trace F1"], table["direct"]) == (1.0, 0.0, 1.0)
    assert (table["right without its trace"], table["verified"]) == (1.0, 0.0)
    mixed = [*full[:2], *short[2:]]
    table = traced(answers("half", asked.problems, *judged(asked, mixed)))
    assert table["trace F1"] == pytest.approx(0.5)
    assert (table["trace F1 order 1"], table["trace F1 order 2"]) == (1.0, 0.0)
    assert table["accuracy order 2"] == 1.0


def test_validation_by_answers_does_not_favour_traces(asked):
    short = [f"DIR ANS {problem.answer}" for problem in asked.problems]
    drawn, own = judged(asked, short)
    alone = controlled(asked, (), ()).grader.grade(asked.problems, drawn)
    assert own.verified.tolist() == [0.0] * 4
    assert answers("alone", asked.problems, drawn, alone).success.tolist() == [1.0] * 4


def test_widths():
    assert [(size_of(w, 2).hidden, size_of(w, 2).inner % 4) for w in (32, 96)] == [(32, 0), (96, 0)]
    assert size_of(32, 2).config(64).num_hidden_layers == 2
    for width in (0, 12, 30):
        with pytest.raises(UsageError):
            size_of(width, 2)


def test_a_world_without_beliefs_is_refused(tmp_path):
    config = replace(EXPERIMENT.brief(EXPERIMENT.profiles["demo"]), world="chain")
    with pytest.raises(UsageError, match="beliefs"):
        task_of(Lab(tmp_path, Streams(0)), config, 32)
