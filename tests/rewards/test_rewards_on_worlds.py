"""Rewards on the controlled world, whose verifier gives the columns that they read."""

from dataclasses import replace

import numpy as np
import pytest
from made_graded import drawn, given

from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, demonstrate, problems
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.vocabulary import decode
from keyturn.rewards.abstain import abstain
from keyturn.rewards.contract import Graded
from keyturn.rewards.format_only import FormatConfig, format_only
from keyturn.rewards.label import label
from keyturn.rewards.outcome import outcome
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rewards.rarity import RarityConfig, rarity
from keyturn.rewards.strategy import StrategyConfig, strategy

STREAMS = Streams(5)
GRAPH = WORLDS["graph"]


def answered(world, asked, rows):
    """Rows ``(problem, draw, text)`` as the world's verifier grades them."""
    completions = drawn(asked, rows)
    return Graded(
        problems=tuple(asked),
        completions=completions,
        grades=WorldGrader(world).grade(tuple(asked), completions),
        streams=STREAMS,
    )


@pytest.fixture(scope="module")
def graph():
    """The right trace in three manners, then one with wrong values and one without any step."""
    asked = problems(GRAPH, "rl", None, 1, STREAMS)[:2]
    manners = [("FWD", "F1"), ("BWD", "F2"), ("FWD", "F3"), ("WRNG", "F1"), ("DIR", None)]
    rows = [
        (i, d, decode(demonstrate(GRAPH, problem, STREAMS, strategy=s, format=f).completion))
        for i, problem in enumerate(asked)
        for d, (s, f) in enumerate(manners)
    ]
    return answered(GRAPH, asked, rows)


def test_strategy_and_format_are_the_verifier_s(graph):
    assert given(strategy(StrategyConfig(named="BWD")), graph).tolist() == [0, 1, 0, 0, 0] * 2
    assert given(strategy(StrategyConfig(pattern=r"^F. FWD\b|\bFWD\b")), graph).tolist() == [1, 0, 1, 0, 0] * 2
    assert given(format_only(FormatConfig(named="F3")), graph).tolist() == [0, 0, 1, 0, 0] * 2
    assert given(format_only(), graph).tolist() == [1] * 10


def test_dense_process_pays_for_steps_and_never_for_an_answer_alone(graph):
    dense = given(process(ProcessConfig(dense=True)), graph).reshape(2, 5)
    np.testing.assert_array_equal(dense[:, [0, 1, 2, 4]], [[1, 1, 1, 0]] * 2)
    assert (dense[:, 3] < 1).all()
    strict = given(process(ProcessConfig(strict=True)), graph).reshape(2, 5)
    assert strict.tolist() == [[1, 1, 1, 0, 0]] * 2
    assert given(outcome(), graph).reshape(2, 5)[:, 4].tolist() == [1, 1]


def test_labels_of_a_world(graph):
    asked = [replace(problem, facts={**problem.facts, "label": "0"}) for problem in graph.problems]
    rows = [(0, 0, "F1 FWD ANS 0 EOS"), (0, 1, "F1 FWD ANS 1 EOS"), (1, 0, "ANS"), (1, 1, "ANS 0 EOS")]
    assert given(label(), answered(GRAPH, asked, rows)).tolist() == [1, 0, 0, 1]


def test_a_construction_is_worth_more_the_rarer_it_is():
    world = WORLDS["create"]
    asked = problems(world, "rl", None, 2, STREAMS)[:1]
    found = {}
    for draw in range(60):
        text = decode(demonstrate(world, asked[0], STREAMS.child(draw)).completion)
        found.setdefault(str(answered(world, asked, [(0, 0, text)]).grades.columns["canonical"][0]), text)
    common, rare = list(found.values())[:2]
    of = answered(world, asked, [(0, 0, common), (0, 1, common), (0, 2, rare), (0, 3, "ANS 0 EOS")])
    np.testing.assert_allclose(given(rarity(RarityConfig(alpha=0)), of), [0.5, 0.5, 0.75, 0])


def test_saying_that_there_is_no_answer_is_right_where_there_is_none():
    world = WORLDS["unanswerable"]
    asked = problems(world, "rl", None, 4, STREAMS)
    open_ones = [problem for problem in asked if not problem.facts["answerable"]][:1]
    closed = [problem for problem in asked if problem.facts["answerable"]][:1]
    pair = open_ones + closed
    texts = [decode(demonstrate(world, problem, STREAMS).completion) for problem in pair]
    rows = [(0, 0, texts[0]), (0, 1, "ANS 1 EOS"), (1, 0, texts[1]), (1, 1, "ANS CTL9 EOS")]
    assert given(abstain(), answered(world, pair, rows)).tolist() == [1, -1, 1, 0]
