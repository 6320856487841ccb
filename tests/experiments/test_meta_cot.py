"""Learning to search: equal tokens, texts of the same positions, answers judged without their trace."""

from dataclasses import replace

import numpy as np
import pytest
from made_task import shipped_task

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.experiments.meta_cot import (
    TEXTS,
    AnswersAlone,
    MetaCotConfig,
    nodes_of,
    rows_a_step,
    world_of,
    written,
)
from keyturn.lab.fit_rows import demonstration_completions, supervised
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.nim_text import search_nodes
from keyturn.problems.world.verify_nim import read_nim_prompt
from keyturn.problems.world.vocabulary import encode
from keyturn.problems.world.worlds import problems


@pytest.fixture(scope="module")
def task():
    world = world_of(MetaCotConfig())
    asked = problems(world, "rl", None, 30, Streams(0))
    train = ProblemSet(name="nim", problems=asked, grader=AnswersAlone(WorldGrader(world)))
    return replace(shipped_task("chain"), train=train, world=world)


def test_pretraining_shows_no_search():
    world = world_of(MetaCotConfig())
    assert set(world.mixture) == {"FWD", "DIR"}, "the rule and answers: no text tries a move"
    assert set(world.rl_heaps) < set(world.test_heaps)


def test_every_kind_sees_as_many_tokens(task):
    used = {}
    for kind in TEXTS:
        rows = supervised(task.base, written(task, kind, Streams(0)))
        lengths = np.array([(row.weights > 0).sum() for row in rows])
        used[kind] = rows_a_step(lengths, 3000) * lengths.mean()
    assert max(used.values()) < 1.05 * min(used.values())
    # The broken twin: as many rows of each kind are far from as many tokens.
    sizes = [np.mean([len(text.split()) for _, text in written(task, kind, Streams(0))]) for kind in TEXTS]
    assert max(sizes) > 3 * min(sizes)


def test_texts_hold_the_moves_that_they_should(task):
    tried = {}
    for kind in TEXTS:
        completions = demonstration_completions(task.base, written(task, kind, Streams(0)))
        tried[kind] = nodes_of(completions)
        grades = task.train.grader.grade(task.train.problems, completions)
        assert np.isnan(grades.verified).all()
        if kind != "shuffled":
            assert (grades.outcome == 1).all()
        assert (grades.columns["valid"] == 1).all() == (kind in ("search", "optimal"))
    positions = [read_nim_prompt(encode(problem.prompt)) for problem in task.train.problems]
    needed = [len(search_nodes(position)) for position in positions]
    assert tried["search"].tolist() == needed == tried["shuffled"].tolist()
    assert (tried["answer"] == 0).all()
    won = np.array([not problem.facts["lost"] for problem in task.train.problems])
    assert (tried["optimal"][won] == 1).all()
    assert (tried["optimal"][~won] == tried["search"][~won]).all()


def test_an_unknown_kind_is_answered(task):
    with pytest.raises(UsageError, match="depth-first"):
        written(task, "depth-first", Streams(0))
