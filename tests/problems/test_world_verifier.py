"""The verifier: gold is right, any corruption of it is not, and hostile ids have a defined verdict."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, demonstrate, problems
from keyturn.problems.world.chain import TABLES
from keyturn.problems.world.graph import GraphWorld
from keyturn.problems.world.graph_task import read_graph_prompt
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.verify_chain import read_chain_prompt
from keyturn.problems.world.vocabulary import ANS, EOS, FORMATS, STRATEGIES, VALUE, WORDS, encode

STREAMS = Streams(21)
CHAIN = WORLDS["chain"]
FREE = GraphWorld(
    strategies=dict.fromkeys(STRATEGIES, 0.125),
    formats={"F1": 0.4, "F2": 0.3, "F3": 0.3},
    order="free",
    slips=0.4,
)
CANONICAL = GraphWorld(strategies=FREE.strategies, formats=FREE.formats)
VALID = ("FWD", "BWD", "SCAN", "CHK", "RET")
CORRUPTED = (Role.COPY, Role.LOOKUP, Role.ARITHMETIC, Role.ANSWER)
Read = Callable[..., Reading]


def read(world, document):
    return read_completion(read_prompt(world, list(document.prompt)), list(document.completion))


def graph(prompt, completion, *, ended=True, world=CANONICAL):
    return read_completion(read_prompt(world, encode(prompt)), encode(completion), ended=ended)


PROMPT = "BOS C1 plum = fig + 3 ; fig = 2 ; pear = fig * 4 ; lime = plum - fig ; ASK lime"
GOLD = (
    "FWD F1 DO fig = 2 ; EX fig 2 ; DO plum = fig + 3 ; fig 2 EX plum 0 ; "
    "DO lime = plum - fig ; plum 0 fig 2 EX lime 3 ; ANS 3 EOS"
)


@pytest.mark.parametrize("world", [FREE, CANONICAL], ids=["free", "canonical"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fmt", FORMATS)
def test_gold_of_every_strategy_and_format_is_read_as_it_was_written(world, strategy, fmt):
    for problem in problems(world, "test", None, 6, STREAMS):
        document = demonstrate(world, problem, STREAMS, strategy=strategy, format=fmt)
        reading = read(world, document)
        assert reading.verified == (strategy in VALID)
        assert reading.strategy == strategy
        assert reading.format == ("" if strategy in ("DIR", "FILL") else fmt)
        if strategy == "WRNG":
            assert reading.process < 1
            assert reading.exec_score < 1
            assert reading.first_error_role == Role.ARITHMETIC
            continue
        assert reading.outcome
        assert reading.first_error == -1
        assert reading.roles == list(document.roles)
        assert {at: n for at, n in enumerate(reading.choices) if n} == {
            at: len(ids) for at, ids in document.choices.items()
        }
        assert reading.process == (strategy in VALID)


def test_gold_of_chain_is_right_and_unlinked_lists_are_not():
    for document in block(WORLDS["chain-linked"], STREAMS, 0, 300):
        reading = read(CHAIN, document)
        linked = document.component != "unlinked"
        if linked:
            assert reading.verified
            assert reading.roles == list(document.roles)
        elif not reading.verified:
            assert reading.first_error_role == Role.LOOKUP
            assert reading.exec_score < 1


def survivors(world, documents, reader: Read = read_completion):
    """Single-token corruptions of gold that a verifier lets pass: neither process nor outcome falls."""
    found = []
    generator = STREAMS.generator("corruptions")
    for document in documents:
        task = read_prompt(world, list(document.prompt))
        gold = reader(task, list(document.completion))
        needed = set()
        if world.domain == "graph":
            needed = set(read_graph_prompt(list(document.prompt), world.modulus, free=True).needed)
        name = None
        for at, role in enumerate(document.roles):
            name = document.completion[at] if role == Role.PLAN else name
            if role not in CORRUPTED or (needed and name not in needed and role != Role.ANSWER):
                continue
            others = [t for t in range(len(WORDS)) if t != document.completion[at]]
            for token in generator.choice(others, 6, replace=False).tolist() + _near(document.completion[at]):
                changed = [*document.completion[:at], token, *document.completion[at + 1 :]]
                now = reader(task, changed)
                lower = now.process < gold.process or (gold.outcome and not now.outcome)
                if not lower or now.verified:
                    found.append((document, at, token))
    return found


def _near(token):
    """The neighbouring value, where the token is one: the likeliest slip."""
    return [VALUE + (token - VALUE + 1) % 5] if VALUE <= token < VALUE + 5 else []


def gold_documents(world, count):
    texts = block(world, STREAMS, 1, 40 * count)
    return [d for d in texts if d.component.split()[0] in (*VALID, "single", "linked")][:count]


@pytest.mark.parametrize("world", [FREE, CANONICAL, WORLDS["chain-linked"]], ids=["free", "canonical", "chain"])
def test_every_single_token_corruption_of_gold_lowers_process_or_outcome(world):
    assert not survivors(world, gold_documents(world, 40))


@pytest.mark.parametrize("world", [CANONICAL, WORLDS["chain-linked"]], ids=["graph", "chain"])
def test_a_verifier_that_ignores_the_trace_is_rejected_by_the_corruptions(world):
    def outcome_only(task, ids, *, ended=True):
        reading = read_completion(task, ids, ended=ended)
        return reading._replace(process=float(reading.outcome), verified=reading.outcome)

    assert survivors(world, gold_documents(world, 10), outcome_only)


def test_a_verifier_that_ignores_look_ups_is_rejected_by_the_corruptions():
    def no_look_ups(task, ids, *, ended=True):
        reading = read_completion(task, ids, ended=ended)
        real = [e for role, e in zip(reading.roles, reading.errors, strict=True) if role != Role.LOOKUP]
        fine = reading.outcome and not any(real)
        return reading._replace(process=1.0 if fine else reading.process, verified=fine)

    assert survivors(CANONICAL, gold_documents(CANONICAL, 10), no_look_ups)


def test_an_error_is_counted_once_and_not_where_it_is_carried_to():
    carried = GOLD.replace("EX plum 0", "EX plum 1").replace("plum 0 fig 2 EX lime 3", "plum 1 fig 2 EX lime 4")
    reading = graph(PROMPT, carried.replace("ANS 3", "ANS 4"))
    assert not reading.outcome
    assert sum(reading.errors) == 1
    assert WORDS[encode(carried)[reading.first_error]] == "1"
    assert reading.first_error_role == Role.ARITHMETIC
    assert reading.process == pytest.approx(1 / 3), "only the constant stands with its right value"
    assert reading.exec_score == pytest.approx(12 / 13)
    right_after_all = graph(PROMPT, GOLD.replace("EX plum 0", "EX plum 1"))
    assert right_after_all.outcome
    assert not right_after_all.verified
    assert sum(right_after_all.errors) == 2, "the result, and a look-up that is not what the text says"


def test_needless_steps_cost_efficiency_and_plan_score_but_not_validity():
    extra = GOLD.replace("DO lime", "DO pear = fig * 4 ; fig 2 EX pear 3 ; DO lime")
    reading = graph(PROMPT, extra)
    assert reading.verified
    assert reading.efficiency == pytest.approx(3 / 4)
    assert reading.plan_score == pytest.approx(3 / 4)
    assert reading.first_error_role == Role.PLAN
    scan = graph(PROMPT, extra.replace("FWD", "SCAN"))
    assert scan.verified
    assert scan.plan_score == 1
    assert not graph(PROMPT, extra.replace("EX pear 3", "EX pear 2")).verified


def test_a_step_before_its_operands_are_known_is_not_valid_even_if_the_value_is_guessed():
    early = (
        "FWD F1 DO plum = fig + 3 ; fig 2 EX plum 0 ; DO fig = 2 ; EX fig 2 ; "
        "DO lime = plum - fig ; plum 0 fig 2 EX lime 3 ; ANS 3 EOS"
    )
    reading = graph(PROMPT, early)
    assert reading.outcome
    assert not reading.verified
    assert reading.first_error_role == Role.PLAN


def test_goal_lists_must_be_whole_and_ordered():
    def backward(goals):
        return GOLD.replace("FWD F1", f"BWD F1 NEED {goals} ;")

    assert graph(PROMPT, backward("lime plum fig")).verified
    wrongs = ("lime plum", "lime fig plum", "lime plum fig pear", "", "lime lime plum fig", "plum lime fig")
    for wrong in wrongs:
        reading = graph(PROMPT, backward(wrong))
        assert reading.outcome
        assert not reading.verified, wrong


def test_checks_take_back_wrong_steps_and_false_checks_are_errors():
    slip = "DO plum = fig + 3 ; fig 2 EX plum 4 ; VF plum 0 BK ; "
    start = "CHK F1 DO fig = 2 ; EX fig 2 ; "
    rest = GOLD.split("EX fig 2 ; ", 1)[1]
    mended = graph(PROMPT, start + slip + rest)
    assert mended.verified
    assert mended.roles.count(Role.WRONG) == 13
    assert mended.exec_score == 1
    assert not graph(PROMPT, start + slip.replace("BK", "OK") + rest).verified
    needless = start + rest.replace("EX plum 0 ;", "EX plum 0 ; VF plum 1 BK ;")
    assert not graph(PROMPT, needless).verified
    assert not graph(PROMPT, "FWD F1 " + (start + slip + rest)[7:]).verified, "only CHK may take back"


def test_retractions_belong_to_ret():
    body = GOLD.split("FWD F1 ", 1)[1]
    assert graph(PROMPT, "RET F1 DO pear BK ; " + body).verified
    reading = graph(PROMPT, "FWD F1 DO fig BK ; " + body)
    assert not reading.verified
    assert reading.first_error_role == Role.INVALID


@pytest.mark.parametrize(
    ("completion", "outcome"),
    [
        ("", False),
        ("EOS", False),
        ("FWD", False),
        ("FWD F1", False),
        ("ANS 3 EOS", True),
        ("DIR ANS 3 EOS", True),
        ("DIR ANS 3", True),
        ("DIR ANS 4 EOS", False),
        ("DIR ANS 3 ANS 3 EOS", False),
        ("DIR ANS 3 fig EOS", False),
        ("DIR ANS 3 EOS EOS", False),
        ("DIR ANS EOS", False),
        ("FILL ~ ~ ~ ANS 3 EOS", True),
        ("FILL ANS 3 EOS", True),
        ("PAD PAD PAD", False),
        ("UNK CTL3 f g h", False),
        ("WRNG" + GOLD[3:], True),
    ],
)
def test_what_shows_no_reasoning_may_be_right_but_is_never_verified(completion, outcome):
    reading = graph(PROMPT, completion)
    assert reading.outcome == outcome
    assert not reading.verified
    assert len(reading.roles) == len(reading.errors) == len(reading.floors) == len(completion.split())


def test_a_cut_text_is_not_verified_whatever_it_holds():
    cut = GOLD.removesuffix(" EOS")
    assert graph(PROMPT, cut).verified
    assert not graph(PROMPT, cut, ended=False).verified
    assert graph(PROMPT, cut, ended=False).outcome
    for size in range(len(cut.split())):
        reading = graph(PROMPT, " ".join(GOLD.split()[:size]), ended=False)
        assert not reading.verified
        assert reading.first_error == -1, "a cut is no error of any token"


SOME = {
    name: (
        read_prompt(WORLDS[name], encode(problem.prompt)),
        list(demonstrate(WORLDS[name], problem, STREAMS).completion),
    )
    for name in ("graph", "chain")
    for problem in problems(WORLDS[name], "test", None, 1, STREAMS)[1:2]
}


@settings(max_examples=150)
@given(st.binary(max_size=70), st.sampled_from(["graph", "chain"]), st.booleans())
def test_any_ids_have_a_verdict(noise, name, prefixed):
    task, gold = SOME[name]
    ids = [byte - 5 for byte in noise]
    text = gold[: len(gold) // 2] + ids if prefixed else ids
    reading = read_completion(task, text)
    assert len(reading.roles) == len(reading.errors) == len(reading.choices) == len(text)
    assert reading.verified <= reading.outcome
    assert 0 <= reading.process <= 1
    assert all(role in set(Role) for role in reading.roles)
    assert (reading.first_error == -1) == (not any(reading.errors))


def test_floors_are_known_only_where_any_order_is_written():
    prompt = "BOS C1 plum = 1 ; fig = 2 ; pear = fig * plum ; ASK pear"
    text = "FWD F1 DO plum = 1 ; EX plum 1 ; DO fig = 2 ; EX fig 2 ; "
    text += "DO pear = fig * plum ; fig 2 plum 1 EX pear 2 ; ANS 2 EOS"
    free, canonical = (graph(prompt, text, world=world) for world in (FREE, CANONICAL))
    assert free.floors[3] == pytest.approx(math.log(2))
    assert sum(free.floors) == pytest.approx(math.log(2))
    assert not any(canonical.floors)
    assert canonical.choices[3] == 2


def test_lenient_reading_takes_the_last_value():
    reading = graph(PROMPT, "lime 3")
    assert (reading.lenient, reading.outcome, reading.answer) == (True, False, "")


def test_guessing_operands_is_right_one_time_in_seven():
    generator = STREAMS.generator("guess")
    asked = problems(CHAIN, "test", [{"depth": 2}], 60, STREAMS)
    hits = []
    for problem in asked:
        task = read_prompt(CHAIN, encode(problem.prompt))
        gold = list(demonstrate(CHAIN, problem, STREAMS).completion)
        for operand in generator.integers(7, size=20).tolist():
            result = TABLES[read_chain_prompt(encode(problem.prompt)).maps[1]][operand]
            text = [*gold[:5], VALUE + operand, VALUE + result, gold[7], ANS, VALUE + result, EOS]
            hits.append(read_completion(task, text).verified)
    assert abs(np.mean(hits) - 1 / 7) < 0.035


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "BOS CH f 3 ?",
        "BOS C1 plum = fig + 3 ; ASK plum",
        "BOS C1 plum = plum + 3 ; ASK plum",
        "BOS C1 plum = 1 ; plum = 2 ; ASK plum",
        "BOS C1 plum = 1 ; fig = 2 ; ASK lime",
        "BOS C1 plum = 7 ; fig = 2 ; ASK fig",
        "BOS C1 plum fig ; ; = = ; ASK fig",
        "BOS C1 plum = 1 ; fig = 2 ASK fig",
    ],
)
def test_a_prompt_of_no_graph_problem_is_refused(prompt):
    with pytest.raises(InputError):
        read_prompt(CANONICAL, encode(prompt))


@pytest.mark.parametrize(
    "prompt", ["", "BOS CH ?", "BOS CH f g ?", "BOS CH 3 f ?", "BOS CH f 8 ?", "BOS CH f 3"]
)
def test_a_prompt_of_no_chain_problem_is_refused(prompt):
    with pytest.raises(InputError):
        read_prompt(CHAIN, encode(prompt))
