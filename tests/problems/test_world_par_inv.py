"""PAR and INV: what they ask, what pretraining shows; the verifier accepts the listed traces and no other."""

from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, demonstrate, problems, valid_completions
from keyturn.problems.world.inv import InvWorld
from keyturn.problems.world.maps import SQUARE, TABLES
from keyturn.problems.world.par import ParWorld
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import ANS, WORDS, decode, encode

STREAMS = Streams(41)
PAR, INV = WORLDS["par"], WORLDS["inv"]
CLOSED = [("par", {"bits": 6}), ("inv", {"depth": 2}), ("inv", {"depth": 3})]


def read(world, prompt, completion, *, ended=True):
    return read_completion(read_prompt(world, encode(prompt)), encode(completion), ended=ended)


def accepted(world, problem, lists):
    """Those of the completions that are verified."""
    reader = read_prompt(world, encode(problem.prompt))
    return {tuple(ids) for ids in lists if read_completion(reader, list(ids)).verified}


def neighbours(ids):
    """Every completion that differs in one token, lacks one, or has one twice."""
    for at, token in product(range(len(ids)), range(len(WORDS))):
        yield (*ids[:at], token, *ids[at + 1 :])
    for at in range(len(ids)):
        yield (*ids[:at], *ids[at + 1 :])
        yield (*ids[: at + 1], *ids[at:])


@pytest.mark.parametrize(("name", "cell"), CLOSED)
def test_verified_is_exactly_the_listed_completions(name, cell):
    world = WORLDS[name]
    for problem in problems(world, "test", [cell], 1, STREAMS):
        listed = valid_completions(world, problem)
        assert listed.complete
        for ids in listed.ids:
            # A completion may lack the final EOS: that it was not cut is said beside it.
            allowed = {*listed.ids, *(other[:-1] for other in listed.ids)}
            assert accepted(world, problem, [*neighbours(ids), *listed.ids]) <= allowed
            assert ids in accepted(world, problem, [ids])


def test_a_verifier_of_answers_alone_is_rejected_by_that_test():
    problem = problems(PAR, "test", [{"bits": 6}], 1, STREAMS)[0]
    listed = valid_completions(PAR, problem)
    reader = read_prompt(PAR, encode(problem.prompt))
    passed = {ids for ids in neighbours(listed.ids[0]) if read_completion(reader, list(ids)).outcome}
    assert not passed <= {*listed.ids, listed.ids[0][:-1]}


@pytest.mark.parametrize(("name", "cell"), CLOSED)
@given(data=st.data())
@settings(max_examples=60)
def test_any_one_token_changed_is_an_error_there_or_later(name, cell, data):
    world = WORLDS[name]
    problem = problems(world, "test", [cell], 1, STREAMS)[0]
    gold = data.draw(st.sampled_from(valid_completions(world, problem).ids))
    at = data.draw(st.integers(0, len(gold) - 2))
    token = data.draw(st.integers(0, len(WORDS) - 1).filter(lambda token: token != gold[at]))
    reading = read_completion(read_prompt(world, encode(problem.prompt)), [*gold[:at], token, *gold[at + 1 :]])
    assert not reading.verified
    assert reading.errors[:at] == [False] * at
    assert any(reading.errors) or reading.strategy == "DIR"


@given(st.binary(max_size=60), st.sampled_from(["par", "inv", "inv-search"]), st.booleans())
@settings(max_examples=150)
def test_any_ids_have_a_verdict(noise, name, prefixed):
    world = WORLDS[name]
    problem = problems(world, "test", None, 1, STREAMS)[1]
    gold = list(demonstrate(world, problem, STREAMS).completion)
    text = [*(gold[: len(gold) // 2] if prefixed else []), *(byte - 5 for byte in noise)]
    reading = read_completion(read_prompt(world, encode(problem.prompt)), text)
    assert len(reading.roles) == len(reading.errors) == len(reading.choices) == len(text)
    assert reading.verified <= reading.outcome
    assert 0 <= reading.process <= 1
    assert (reading.first_error == -1) == (not any(reading.errors))


@pytest.mark.parametrize("name", ["par", "inv", "inv-search", "inv-absent"])
def test_texts_are_read_as_they_were_written(name):
    for document in block(WORLDS[name], STREAMS, 0, 300):
        if document.component == "forward":
            continue
        reading = read_completion(read_prompt(WORLDS[name], list(document.prompt)), list(document.completion))
        assert reading.outcome
        assert reading.verified == (document.component != "DIR")
        assert reading.roles == list(document.roles)
        assert {at: n for at, n in enumerate(reading.choices) if n} == {
            at: len(ids) for at, ids in document.choices.items()
        }


def test_an_error_counts_once_and_is_carried_on_without_a_second():
    reading = read(PAR, "BOS CTL5 plum 1 fig 0 quince 1 ?", "FWD plum 1 0 ; fig 0 0 ; quince 1 1 ; ANS 1 EOS")
    assert (reading.outcome, reading.process, sum(reading.errors)) == (False, 0, 1)
    assert reading.first_error_role == Role.ARITHMETIC
    twice = read(PAR, "BOS CTL5 plum 1 fig 0 quince 1 ?", "FWD plum 1 0 ; fig 0 0 ; quince 1 0 ; ANS 0 EOS")
    assert (twice.outcome, twice.verified, sum(twice.errors)) == (True, False, 2), "two wrongs make no right"
    # f sends 5 to 6, but 4 was written; from there on the trace is its own: g sends 5 to 4.
    wrong = read(INV, "BOS CTL6 ASK g f 6 ?", "BWD 6 = f 4 ; 4 = g 5 ; ANS 5 EOS")
    assert (sum(wrong.errors), wrong.first_error_role, wrong.process) == (1, Role.ARITHMETIC, 0)


def test_search_has_to_stop_where_the_check_holds_and_nowhere_else():
    problem = next(p for p in problems(INV, "test", [{"depth": 1}], 12, STREAMS) if p.answer not in "056")
    text = decode(demonstrate(INV, problem, STREAMS, strategy="SCAN").completion)
    assert read(INV, problem.prompt, text).verified
    early = text.replace("VF BK", "VF OK", 1)
    assert read(INV, problem.prompt, early).first_error_role == Role.VERIFY
    claimed = text.replace("VF OK", "VF BK")
    assert read(INV, problem.prompt, claimed).first_error_role == Role.BACKTRACK
    late = text.replace("ANS", "DO 6 ; " + text.split("DO 0 ; ")[1].split(" VF")[0] + " VF BK ; ANS")
    assert not read(INV, problem.prompt, late).verified


def test_cut_text_and_answers_alone_are_not_verified():
    problem = problems(PAR, "test", [{"bits": 4}], 1, STREAMS)[0]
    gold = decode(demonstrate(PAR, problem, STREAMS).completion)
    assert not read(PAR, problem.prompt, gold, ended=False).verified
    direct = decode(demonstrate(PAR, problem, STREAMS, strategy="DIR").completion)
    reading = read(PAR, problem.prompt, direct)
    assert (reading.outcome, reading.verified, reading.strategy) == (True, False, "DIR")


def test_the_maps_are_a_latin_square_of_their_own_in_which_no_map_is_two():
    assert all(sorted(row) == list(range(7)) for row in SQUARE)
    assert all(sorted(column) == list(range(7)) for column in zip(*SQUARE, strict=True))
    assert not set(SQUARE) & set(TABLES)
    composed = {tuple(b[x] for x in a) for a in SQUARE for b in SQUARE}
    assert len(composed) == 49
    assert not composed & {*SQUARE, tuple(range(7))}
    assert SQUARE[0] == (5, 0, 2, 1, 4, 6, 3), "models depend on it"


def test_results_say_nothing_of_where_they_started():
    counts = Counter((SQUARE[k][SQUARE[j][x]], x, k) for j, k, x in product(range(7), repeat=3))
    assert set(counts.values()) == {1}


@pytest.mark.parametrize("name", ["par", "inv"])
def test_splits_are_disjoint_as_sets_and_texts_lie_in_their_own(name):
    world, level = WORLDS[name], {"par": (4, 6), "inv": (1, 2)}[name]
    cells = [{world.level: n} for n in level]
    splits = ("rl", "validation", "test")
    seen = {split: {p.prompt for p in problems(world, split, cells, 4000, STREAMS)} for split in splits}
    told = {decode(d.prompt) for d in block(world, STREAMS, 2, 2000)}
    assert not any(a & b for a, b in combinations([*seen.values(), told], 2))
    assert all(len(part) > 4 for part in seen.values())


def test_bits_keep_their_split_whatever_their_names():
    forms = {s: {b for _, b in _named(PAR, s)} for s in ("pretrain", "rl", "validation", "test")}
    assert not any(a & b for a, b in combinations(forms.values(), 2))
    assert len({names for names, _ in _named(PAR, "test")}) > 10


def _named(world, split):
    asked = problems(world, split, [{"bits": 7}], 60, STREAMS)
    return [(tuple(p.prompt.split()[2:-1:2]), tuple(p.prompt.split()[3:-1:2])) for p in asked]


def test_absent_arms_show_nothing_of_what_is_asked():
    backward = encode("ASK")[0]
    assert not any(backward in d.prompt for d in block(WORLDS["inv-absent"], STREAMS, 3, 1000))
    assert any(backward in d.prompt for d in block(INV, STREAMS, 3, 1000))
    assert not any(len(d.completion) > 4 for d in block(WORLDS["par-absent"], STREAMS, 3, 1000))
    for name in ("par", "inv"):
        present, absent = (problems(WORLDS[n], "test", None, 2, STREAMS)[2] for n in (name, f"{name}-absent"))
        assert present.facts["seen"]
        assert not absent.facts["seen"]
    atoms = [d for d in block(WORLDS["inv-absent"], STREAMS, 4, 3000) if len(d.prompt) == 6]
    assert len({d.prompt for d in atoms}) == 49, "every single map is shown forwards at every residue"


def test_answers_are_balanced():
    for size in (4, 8, 14):
        counts = Counter(p.answer for p in problems(PAR, "test", [{"bits": size}], 21, STREAMS))
        assert abs(counts["0"] - counts["1"]) <= 1 or sum(counts.values()) < 21


@pytest.mark.parametrize(("world", "cell"), [(PAR, {"bits": 11}), (INV, {"depth": 1}), (INV, {"depth": 3})])
def test_the_words_of_a_prompt_do_not_tell_the_answer(world, cell):
    learn = [p for split in ("pretrain", "rl") for p in problems(world, split, [cell], 700, STREAMS)]
    found = audit(learn, problems(world, "test", [cell], 350, STREAMS))
    assert found.accuracy <= found.majority + 3 * found.standard_error, found


def test_a_leak_is_found():
    asked = problems(PAR, "rl", [{"bits": 10}], 200, STREAMS)
    first_bit = lambda problem: problem.prompt.split()[3]  # noqa: E731
    found = audit(asked[:120], asked[120:], label=first_bit)
    assert found.accuracy > found.majority + 3 * found.standard_error
    assert np.isfinite(found.standard_error)


def test_lengths_are_kept():
    for name in ("par", "inv", "inv-search"):
        world = WORLDS[name]
        for problem in problems(world, "test", None, 4, STREAMS):
            assert len(encode(problem.prompt)) <= world.max_prompt_tokens
            assert len(demonstrate(world, problem, STREAMS).completion) <= world.max_new_tokens
    deepest = max(
        len(demonstrate(WORLDS["inv-search"], p, STREAMS).completion)
        for p in problems(WORLDS["inv-search"], "test", [{"depth": 4}], 60, STREAMS)
    )
    assert deepest == WORLDS["inv-search"].max_new_tokens


@pytest.mark.parametrize(
    ("world", "prompt"),
    [
        (PAR, "BOS CTL5 plum 1 plum 0 ?"),
        (PAR, "BOS CTL5 plum 2 fig 0 ?"),
        (PAR, "BOS CH f 3 ?"),
        (PAR, ""),
        (INV, "BOS CTL6 CH f 3 ?"),
        (INV, "BOS CTL6 ASK m 3 ?"),
        (INV, "BOS CTL6 ASK f 7 ?"),
        (INV, "BOS CTL6 ASK f"),
    ],
)
def test_other_prompts_are_refused(world, prompt):
    with pytest.raises(InputError):
        read_prompt(world, encode(prompt))


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (ParWorld, {"long": -0.1}),
        (ParWorld, {"bits": (5, 4)}),
        (ParWorld, {"test_bits": (60,)}),
        (InvWorld, {"inverse": 2}),
        (InvWorld, {"strategies": {"FWD": 1.0}}),
        (InvWorld, {"strategies": {"BWD": 0.5}}),
        (InvWorld, {"depths": (2, 1)}),
    ],
)
def test_a_world_that_makes_no_sense_is_refused(kind, wrong):
    with pytest.raises(UsageError):
        kind(**wrong)


def test_too_many_problems_and_strange_strategies_are_refused():
    with pytest.raises(UsageError, match="too many"):
        problems(PAR, "test", [{"bits": 13}], 5000, STREAMS)
    with pytest.raises(UsageError, match="too many"):
        problems(INV, "test", [{"depth": 5}], 50_000, STREAMS)
    with pytest.raises(UsageError, match="unknown"):
        demonstrate(PAR, problems(PAR, "test", None, 1, STREAMS)[0], STREAMS, strategy="BWD")
    assert ANS in demonstrate(INV, problems(INV, "test", None, 1, STREAMS)[0], STREAMS).completion
