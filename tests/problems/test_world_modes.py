"""MODES: what pretraining shows in every arm; the verifier accepts the listed completions and no other."""

from dataclasses import replace
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, demonstrate, problems, valid_completions
from keyturn.problems.world.modes import ModesWorld
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import WORDS, decode, encode

STREAMS = Streams(43)
MODES, OPENERS, CUED = WORLDS["modes"], WORLDS["modes-openers"], WORLDS["modes-cue"]
ARMS = ("modes", "modes-openers", "modes-cue", "modes-absent", "modes-context", "modes-scrambled")
ASKED = encode("CTL10")[0]


def read(world, prompt, completion, *, ended=True):
    return read_completion(read_prompt(world, encode(prompt)), encode(completion), ended=ended)


def neighbours(ids):
    """Every completion that differs in one token, lacks one, or has one twice."""
    for at, token in product(range(len(ids)), range(len(WORDS))):
        yield (*ids[:at], token, *ids[at + 1 :])
    for at in range(len(ids)):
        yield (*ids[:at], *ids[at + 1 :])
        yield (*ids[: at + 1], *ids[at:])


@pytest.mark.parametrize("world", [MODES, OPENERS, CUED], ids=lambda world: world.name)
def test_verified_is_exactly_the_listed_completions(world):
    problem = problems(world, "test", [{"depth": 2}], 1, STREAMS)[0]
    listed = valid_completions(world, problem)
    assert listed.complete
    reader = read_prompt(world, encode(problem.prompt))
    allowed = {*listed.ids, *(ids[:-1] for ids in listed.ids)}
    for ids in listed.ids:
        tried = [*neighbours(ids), ids]
        accepted = {tuple(one) for one in tried if read_completion(reader, list(one)).verified}
        assert ids in accepted
        assert accepted <= allowed


def test_a_verifier_of_answers_alone_is_rejected_by_that_test():
    problem = problems(MODES, "test", [{"depth": 2}], 1, STREAMS)[0]
    listed = valid_completions(MODES, problem)
    reader = read_prompt(MODES, encode(problem.prompt))
    passed = {ids for ids in neighbours(listed.ids[1]) if read_completion(reader, list(ids)).outcome}
    assert not passed <= {*listed.ids, *(ids[:-1] for ids in listed.ids)}


def test_a_list_that_was_cut_says_so():
    problem = problems(OPENERS, "test", [{"depth": 2}], 1, STREAMS)[0]
    cut = valid_completions(OPENERS, problem, cap=2)
    assert (len(cut.ids), cut.complete, cut.left_out) == (2, False, "3 completions beyond the first 2")


@given(st.binary(max_size=60), st.sampled_from(ARMS), st.booleans())
@settings(max_examples=40)
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


@pytest.mark.parametrize("name", ARMS)
def test_texts_are_read_as_they_were_written(name):
    for document in block(WORLDS[name], STREAMS, 0, 300):
        reading = read_completion(read_prompt(WORLDS[name], list(document.prompt)), list(document.completion))
        assert reading.outcome
        if document.component != "scrambled":
            assert reading.verified
            assert reading.roles == list(document.roles)
            assert reading.strategy == ("DIR" if document.component == "direct" else "FWD")


def test_arms_differ_only_in_the_worked_texts_about_what_is_asked():
    told = {name: [d for d in block(WORLDS[name], STREAMS, 1, 3000) if d.prompt[1] == ASKED] for name in ARMS}
    worked = {name: [d for d in texts if len(d.completion) > 3] for name, texts in told.items()}
    assert not worked["modes-absent"]
    assert not worked["modes-context"]
    for name in ("modes", "modes-openers", "modes-cue", "modes-scrambled"):
        assert abs(len(worked[name]) / len(told[name]) - 0.05) < 0.02
    for name in ARMS:
        shares = WORLDS[name].mixture
        assert next(share for part, share in shares.items() if part.startswith("worked ")) == 0.15
    assert sum(d.prompt[-1] == encode("CTL13")[0] for d in told["modes-cue"]) == len(worked["modes-cue"])
    firsts = {decode(d.completion).split()[0] for d in worked["modes-openers"]}
    assert firsts == {"FWD", "SCAN", "to", "since"}


def test_scrambled_texts_keep_opener_tokens_length_and_answer():
    world = replace(WORLDS["modes-scrambled"], worked=1.0)
    texts = [d for d in block(world, STREAMS, 2, 200) if d.component == "scrambled"]
    verified = 0
    for document in texts:
        reading = read_completion(read_prompt(world, list(document.prompt)), list(document.completion))
        shown = next(p for p in _problems_of(document, world))
        right = demonstrate(world, shown, STREAMS).completion
        assert sorted(document.completion) == sorted(right)
        assert document.completion[0] == right[0]
        assert document.completion[-3:] == right[-3:]
        verified += reading.verified
    assert verified < 0.1 * len(texts)


def _problems_of(document, world):
    maps, start = document.prompt[2:-2], document.prompt[-2]
    first, value = encode("f")[0], encode("0")[0]
    yield world._problem(tuple(token - first for token in maps), start - value)


def test_splits_are_disjoint_as_sets_and_all_single_maps_are_told():
    cells = [{"depth": 2}, {"depth": 3}]
    splits = ("rl", "validation", "test")
    seen = {split: {p.prompt for p in problems(MODES, split, cells, 4000, STREAMS)} for split in splits}
    told = {decode(d.prompt) for d in block(MODES, STREAMS, 3, 4000)}
    assert not any(a & b for a, b in combinations([*seen.values(), told], 2))
    assert all(len(part) > 4 for part in seen.values())
    assert len({prompt for prompt in told if len(prompt.split()) == 5 and "CTL10" in prompt}) == 28
    assert not problems(MODES, "test", [{"depth": 1}], 10, STREAMS)


def test_what_is_seen_is_what_the_arm_shows():
    for name in ARMS:
        problem = problems(WORLDS[name], "test", None, 1, STREAMS)[0]
        assert problem.facts["seen"] == (name in ("modes", "modes-openers", "modes-cue"))
        assert problem.facts["chance"] == pytest.approx(1 / 7)


def test_an_error_counts_once_and_an_answer_alone_may_be_right():
    prompt = "BOS CTL10 h f 2 ?"
    assert read(MODES, prompt, "FWD h 2 5 ; f 5 1 ; ANS 1 EOS").verified
    wrong = read(MODES, prompt, "FWD h 2 3 ; f 3 1 ; ANS 1 EOS")
    assert sum(wrong.errors) == 2, "h(2) is 5, and f(3) is not 1"
    assert wrong.first_error_role == Role.ARITHMETIC
    assert read(MODES, prompt, "ANS 1 EOS").verified
    assert not read(MODES, prompt, "ANS 2 EOS").verified
    assert not read(MODES, prompt, "ANS 1 EOS", ended=False).verified
    assert not read(MODES, prompt, "FWD h 2 5 ; ANS 5 EOS").verified
    assert read(OPENERS, prompt, "to find h 2 5 ; f 5 1 ; ANS 1 EOS").verified
    assert read(MODES, prompt, "FWD h 2").strategy == "FWD"
    assert read(MODES, prompt, "h 2 5").strategy == read(MODES, prompt, "").strategy == ""
    assert not read(MODES, prompt, "to find h 2 5 ; f 5 1 ; ANS 1 EOS").verified
    assert read(CUED, prompt, "CTL13 FWD h 2 5 ; f 5 1 ; ANS 1 EOS").verified
    assert not read(MODES, prompt, "CTL13 FWD h 2 5 ; f 5 1 ; ANS 1 EOS").verified


@pytest.mark.parametrize("depth", [2, 3])
def test_the_words_of_a_prompt_do_not_tell_the_answer(depth):
    cell = {"depth": depth}
    learn = [p for split in ("pretrain", "rl") for p in problems(MODES, split, [cell], 700, STREAMS)]
    found = audit(learn, problems(MODES, "test", [cell], 350, STREAMS))
    assert found.accuracy <= found.majority + 3 * found.standard_error, found


def test_lengths_are_kept():
    for name in ARMS:
        world = WORLDS[name]
        for document in block(world, STREAMS, 4, 300):
            assert len(document.prompt) <= world.max_prompt_tokens
            assert len(document.completion) <= world.max_new_tokens
        longest = max(
            len(ids)
            for p in problems(world, "test", [{"depth": 3}], 3, STREAMS)
            for ids in valid_completions(world, p).ids
        )
        assert longest == world.max_new_tokens


@pytest.mark.parametrize(
    "prompt",
    ["BOS CTL10 j 3 ?", "BOS CTL11 f 3 ?", "BOS CTL10 f 7 ?", "BOS CTL10 f g", "BOS CH f 3 ?", "", "CTL13"],
)
def test_other_prompts_are_refused(prompt):
    with pytest.raises(InputError):
        read_prompt(MODES, encode(prompt))


@pytest.mark.parametrize(
    "wrong",
    [
        {"worked": -0.1},
        {"elsewhere_share": 1.5},
        {"elsewhere": "nowhere"},
        {"depths": (3, 2)},
        {"test_depths": (1, 2)},
        {"rl_depths": (9,)},
        {"openers": ()},
        {"openers": ("ANS",)},
        {"openers": ("FWD", "FWD to")},
        {"openers": ("hello",)},
        {"openers": ("",)},
    ],
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        ModesWorld(**wrong)
