"""The grader: verdicts as columns, from ids or from text."""

import json
import time

import numpy as np
import pytest
from hand_made import in_world

from keyturn.core.errors import UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import (
    WORLDS,
    WorldGrader,
    demonstrate,
    guess_rates,
    problem_set,
    problems,
    valid_completions,
)
from keyturn.problems.world.graph_valid import MOST_OPERATIONS
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import EOS, decode, encode
from keyturn.rollouts.completions import Stop

STREAMS = Streams(31)
GRAPH, CHAIN = WORLDS["graph"], WORLDS["chain"]


def gold_rows(world, asked, **how):
    return [(i, list(demonstrate(world, p, STREAMS, **how).completion)) for i, p in enumerate(asked)]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_gold_is_verified_from_ids_and_from_text(world):
    asked = problems(world, "test", None, 4, STREAMS)
    rows = gold_rows(world, asked)
    grades = WorldGrader(world).grade(asked, in_world(asked, rows))
    assert grades.verified.tolist() == grades.outcome.tolist() == [1.0] * len(rows)
    assert grades.answer == tuple(p.answer for p in asked)
    assert grades.roles is not None
    assert len(grades.roles) == len(grades.token_columns["floor"]) == sum(len(ids) for _, ids in rows)
    assert not grades.token_columns["error"].any()
    foreign = in_world(
        asked,
        [(i, [7, 8]) for i, _ in rows],
        prompts=[[1, 2, 3]] * len(asked),
        texts=[decode(r, skip_special=True) for _, r in rows],
        stop=[Stop.UNKNOWN] * len(rows),
    )
    from_text = WorldGrader(world).grade(asked, foreign)
    assert from_text.verified.tolist() == grades.verified.tolist()
    assert from_text.roles is None
    assert not from_text.token_columns
    for name in ("process", "exec_score", "plan_score", "efficiency", "strategy", "format"):
        assert np.array_equal(
            from_text.columns[name], grades.columns[name], equal_nan=grades.columns[name].dtype != object
        )


def test_text_that_was_cut_is_not_verified():
    asked = problems(GRAPH, "test", [{"operations": 2}], 2, STREAMS)
    rows = gold_rows(GRAPH, asked)
    for stop, verified in ((Stop.LENGTH, 0.0), (Stop.EOS, 1.0)):
        text = in_world(asked, rows, prompts=[[9]] * 2, stop=[stop] * 2)
        assert WorldGrader(GRAPH).grade(asked, text).verified.tolist() == [verified] * 2
    cut = [(i, ids[:-1]) for i, ids in rows]
    assert WorldGrader(GRAPH).grade(asked, in_world(asked, cut)).verified.tolist() == [0.0, 0.0]


def test_a_request_that_failed_is_ungraded_never_wrong():
    asked = problems(GRAPH, "test", [{"operations": 2}], 2, STREAMS)
    rows = gold_rows(GRAPH, asked)
    half = in_world(asked, rows, prompts=[[9]] * 2, stop=[Stop.EOS, Stop.ERROR])
    grades = WorldGrader(GRAPH).grade(asked, half)
    np.testing.assert_array_equal(grades.verified, [1.0, np.nan])
    np.testing.assert_array_equal(grades.outcome, [1.0, np.nan])
    assert grades.outcome.dtype == np.float32


def test_empty_and_hostile_completions_have_a_verdict():
    asked = problems(GRAPH, "test", [{"operations": 2}], 1, STREAMS)
    rows = [(0, []), (0, [EOS]), (0, [99999]), (0, [3, 3, 3])]
    texts = ["", "\x1b[31m ANS \u202e 3 </script>", "\ud800 NUL \x00", "ANS"]
    for made in (in_world(asked, rows), in_world(asked, rows, prompts=[[5]], texts=texts)):
        grades = WorldGrader(GRAPH).grade(asked, made)
        assert grades.verified.tolist() == [0.0] * 4
        assert grades.columns["process"].tolist() == [0.0] * 4
        assert np.isnan(grades.columns["exec_score"]).all()
    none = WorldGrader(GRAPH).grade(asked, in_world(asked, []))
    assert len(none.outcome) == 0
    assert none.roles is not None


def test_columns_say_what_went_wrong():
    asked = problems(GRAPH, "test", [{"operations": 3}], 1, STREAMS)
    gold = gold_rows(GRAPH, asked)[0][1]
    document = demonstrate(GRAPH, asked[0], STREAMS)
    at = list(document.roles).index(Role.ARITHMETIC)
    wrong = [*gold[:at], 20 + (gold[at] - 19) % 5, *gold[at + 1 :]]
    grades = WorldGrader(GRAPH).grade(asked, in_world(asked, [(0, gold), (0, wrong)]))
    assert grades.columns["first_error"].tolist() == [-1, at]
    assert grades.columns["first_error_role"].tolist() == [0, Role.ARITHMETIC]
    assert grades.columns["strategy"].tolist() == ["FWD", "FWD"]
    assert grades.columns["process"][1] < 1 == grades.columns["process"][0]
    assert grades.select(
        in_world(asked, [(0, gold), (0, wrong)]), np.array([False, True])
    ).verified.tolist() == [0]


def test_a_problem_set_brings_its_grader():
    found = problem_set(CHAIN, "test", [{"depth": 2}], 3, STREAMS)
    assert found.name == "chain"
    assert found.grader.reads_traces
    assert "chain" in found.grader.name
    assert WorldGrader(GRAPH).name != WorldGrader(WORLDS["graph-study"]).name


@pytest.mark.parametrize("world", [GRAPH, CHAIN], ids=["graph", "chain"])
def test_a_batch_of_rollouts_is_graded_quickly(world):
    # 20 ms for 256 completions on an idle core; a loaded one gets ten times that.
    asked = problems(world, "rl", None, 8, STREAMS)
    rows = [row for row in gold_rows(world, asked) for _ in range(16)]
    made, grader = in_world(asked, rows), WorldGrader(world)
    grader.grade(asked, made)
    begin = time.process_time()
    grader.grade(asked, made)
    assert time.process_time() - begin < 0.2


def test_listed_completions_are_verified_and_all_different():
    for world in (GRAPH, WORLDS["graph-study"], CHAIN):
        cells = [{"depth" if world is CHAIN else "operations": n} for n in (1, 2, 3)]
        for problem in problems(world, "test", cells, 8, STREAMS):
            listed = valid_completions(world, problem, cap=64)
            task = read_prompt(world, encode(problem.prompt))
            assert all(read_completion(task, list(ids)).verified for ids in listed.ids)
            assert len(set(listed.ids)) == len(listed.ids)
            assert 1 <= len(listed.ids) <= 64
            assert listed.complete == (listed.left_out == "") == (world is CHAIN)


def test_what_the_corpus_would_write_is_listed():
    for problem in problems(GRAPH, "test", [{"operations": n} for n in (1, 2, 3)], 10, STREAMS):
        listed = set(valid_completions(GRAPH, problem).ids)
        for strategy in ("FWD", "BWD", "SCAN"):
            for fmt in ("F1", "F2"):
                assert demonstrate(GRAPH, problem, STREAMS, strategy=strategy, format=fmt).completion in listed


def test_listing_stops_where_orders_are_too_many():
    deep = problems(GRAPH, "test", [{"operations": MOST_OPERATIONS + 1}], 1, STREAMS)[0]
    with pytest.raises(UsageError, match="too many"):
        valid_completions(GRAPH, deep)


def test_guess_rates_are_the_share_of_equal_answers_among_the_others():
    asked = problems(GRAPH, "test", [{"operations": 2}], 50, STREAMS)
    assert guess_rates(asked).tolist() == pytest.approx([9 / 49] * 50)
    alone = guess_rates(asked[:1])
    assert np.isnan(alone).all()
    mixed = guess_rates((*asked[:2], *problems(CHAIN, "test", [{"depth": 2}], 1, STREAMS)))
    assert np.isnan(mixed[2])


def test_demonstrations_refuse_names_they_do_not_know():
    problem = problems(GRAPH, "test", [{"operations": 1}], 1, STREAMS)[0]
    for wrong in ({"strategy": "FWDD"}, {"format": "F9"}):
        with pytest.raises(UsageError, match="unknown"):
            demonstrate(GRAPH, problem, STREAMS, **wrong)


def test_show_prints_words_with_a_code_for_each_role(capsys):
    from keyturn.cli.main import main

    assert main(["world", "show", "graph", "--n", "1", "--depth", "2", "--strategy", "BWD"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    words = next(i for i, line in enumerate(lines) if line.startswith("BWD F1 NEED"))
    assert lines[words + 1].split()[:3] == ["GS", "GS", "ND"]
    assert "goal list" in shown
    assert "\x1b" not in shown, "no colour where nobody sees it"


@pytest.mark.parametrize("name", WORLDS)
def test_show_prints_one_json_document(name, capsys):
    from keyturn.cli.main import main

    assert main(["world", "show", name, "--n", "1", "--json", "--seed", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["command"], document["world"]) == (1, "world show", name)
    for record in document["problems"]:
        assert record["verified"]
        assert len(record["tokens"]) == len(record["roles"])


def test_show_refuses_what_a_world_does_not_have(capsys):
    from keyturn.cli.main import main

    for words in (
        ["maze"],
        ["chain", "--strategy", "FWD"],
        ["graph", "--split", "exam"],
        ["graph", "--format", "F7"],
    ):
        assert main(["world", "show", *words]) == 2
    assert "did you mean" not in capsys.readouterr().out
