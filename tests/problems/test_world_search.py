"""SEARCH: what texts hold, the exact worth of a rule of switching, and what the verifier accepts."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, demonstrate, problems, valid_completions
from keyturn.problems.world.search import SearchWorld, hits
from keyturn.problems.world.search_value import after, best_depth, penalised, value_of
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.verify_search import CYCLE, FUNCTIONS, MODULUS
from keyturn.problems.world.vocabulary import BACK, WORDS, decode, encode

STREAMS = Streams(47)
CYCLES, STARS = WORLDS["search"], WORLDS["search-stars"]


def read(world, prompt, completion, *, ended=True):
    return read_completion(read_prompt(world, encode(prompt)), encode(completion), ended=ended)


def neighbours(ids):
    """Every completion that differs in one token, lacks one, or has one twice."""
    for at, token in product(range(len(ids)), range(len(WORDS))):
        yield (*ids[:at], token, *ids[at + 1 :])
    for at in range(len(ids)):
        yield (*ids[:at], *ids[at + 1 :])
        yield (*ids[: at + 1], *ids[at:])


@pytest.mark.parametrize("world", [CYCLES, STARS], ids=lambda world: world.name)
def test_a_verified_text_comes_to_its_target_by_right_steps_and_nothing_near_it_does(world):
    problem = problems(world, "test", None, 1, STREAMS)[0]
    reader = read_prompt(world, encode(problem.prompt))
    listed = valid_completions(world, problem)
    assert not listed.complete
    assert len(listed.ids) == problem.cell["starts"]
    for ids in listed.ids[:2]:
        near = [one for one in neighbours(ids) if read_completion(reader, list(one)).verified]
        assert set(near) <= {*listed.ids, ids[:-1]}


def test_giving_up_is_no_error_and_going_on_from_the_target_is():
    problem = problems(CYCLES, "test", [{"starts": 5}], 1, STREAMS)[0]
    gold = decode(demonstrate(CYCLES, problem, STREAMS).completion)
    first = gold.removeprefix("DO ").removesuffix(" EOS")
    other = next(w for w in map(str, range(11)) if w not in gold.split() and w != problem.prompt.split()[3])
    table = read_prompt(CYCLES, encode(problem.prompt)).args[0].table
    two = read(CYCLES, problem.prompt, f"DO {other} ; {table[int(other)]} BK {first} EOS")
    assert two.verified
    assert two.more == {"attempts": 2.0, "steps": float(gold.count(";") + 1)}
    assert read(CYCLES, problem.prompt, gold).efficiency == 1
    wrong = read(CYCLES, problem.prompt, f"DO {other} ; {(table[int(other)] + 1) % 11} BK {first} EOS")
    assert (wrong.outcome, wrong.verified, sum(wrong.errors)) == (True, False, 1)
    assert wrong.first_error_role == Role.ARITHMETIC
    past = gold.replace(" OK", f" ; {table[int(problem.prompt.split()[3])]} OK")
    assert not read(CYCLES, problem.prompt, past).verified
    given_up = read(CYCLES, problem.prompt, f"DO {other} ; {table[int(other)]} ANS ~ EOS")
    assert (given_up.outcome, given_up.answer) == (False, "~")
    assert not read(CYCLES, problem.prompt, gold, ended=False).verified


@pytest.mark.parametrize("world", [CYCLES, STARS], ids=lambda world: world.name)
def test_texts_are_read_as_they_were_written_and_switch_as_often_as_they_should(world):
    choices = switches = 0
    for document in block(world, STREAMS, 0, 600):
        reading = read_completion(read_prompt(world, list(document.prompt)), list(document.completion))
        solved = "OK" in decode(document.completion)
        assert (reading.verified, reading.outcome) == (solved, solved)
        assert reading.roles[:-3] == list(document.roles)[:-3]
        switched = document.completion.count(BACK)
        switches += switched
        # Every step that was no hit is a choice, but the last one of a text that gave up for good.
        choices += document.roles.count(int(Role.ARITHMETIC)) - 1
    assert abs(switches / choices - world.switch) < 0.03


@given(st.binary(max_size=60), st.sampled_from(["search", "search-stars"]), st.booleans())
@settings(max_examples=40)
def test_any_ids_have_a_verdict(noise, name, prefixed):
    world = WORLDS[name]
    problem = problems(world, "test", None, 1, STREAMS)[0]
    gold = list(demonstrate(world, problem, STREAMS).completion)
    text = [*(gold[: len(gold) // 2] if prefixed else []), *(byte - 5 for byte in noise)]
    reading = read_completion(read_prompt(world, encode(problem.prompt)), text)
    assert len(reading.roles) == len(reading.errors) == len(reading.choices) == len(text)
    assert reading.verified <= reading.outcome
    assert (reading.first_error == -1) == (not any(reading.errors))


def test_functions_are_what_their_kind_says():
    for table in FUNCTIONS["cycles"]:
        assert sorted(table) == list(range(MODULUS))
    found = {tuple(hits(CYCLES, p).items()) for p in problems(CYCLES, "test", None, 200, STREAMS)}
    late = {tuple((step, 0.1) for step in range(1, length)) for length in (CYCLE, MODULUS - CYCLE)}
    assert {tuple((s, round(c, 9)) for s, c in one) for one in found} == late
    for problem in problems(STARS, "test", None, 200, STREAMS):
        assert set(hits(STARS, problem)) == {1}


def simulated(law, rule, tokens, draws=4000):
    """Success of a rule by drawing attempts."""
    dice, won = np.random.default_rng(0), 0
    depths = [step for step, chance in law.items() for _ in range(round(chance * 10))]
    depths += [0] * (10 - len(depths))
    for _ in range(draws):
        left = tokens
        while left >= 8:
            hit, depth = depths[dice.integers(10)], 0
            left -= 2
            while True:
                depth, left = depth + 1, left - 2
                if depth == hit:
                    won += left >= 4
                    left = -1
                    break
                if left < 0 or dice.random() < rule(depth):
                    break
            if left < 0:
                break
    return won / draws


@pytest.mark.parametrize("rule", [after(1), after(3), after(5), penalised(0.4, 0.0, 0), penalised(0.4, 3.0, 8)])
def test_the_worth_of_a_rule_is_what_drawing_gives(rule):
    law = dict.fromkeys(range(1, 6), 0.1)
    assert value_of(law, rule, 40) == pytest.approx(simulated(law, rule, 40), abs=0.03)


def test_the_best_time_to_switch_is_late_in_cycles_and_at_once_in_stars():
    late = dict.fromkeys(range(1, 6), 0.1)
    assert best_depth(late, 40)[0] == 5
    assert best_depth({1: 0.3}, 40)[0] == 1
    worth = {
        (len(law), penalty): value_of(law, penalised(0.6, penalty, 12), 32)
        for law in (late, {1: 0.3})
        for penalty in (-3.0, 0.0, 3.0)
    }
    assert worth[5, 3.0] > worth[5, 0.0] + 0.1
    assert worth[5, -3.0] < worth[5, 0.0]
    assert worth[1, 3.0] < worth[1, 0.0] - 0.1, "it hurts where switching at once is right"
    assert value_of(late, after(5), 7) == 0, "no attempt fits"
    with pytest.raises(UsageError, match="at most 1"):
        value_of({1: 0.7, 2: 0.7}, after(1), 20)


def test_splits_are_disjoint_as_sets():
    for world in (CYCLES, STARS):
        splits = ("rl", "validation", "test")
        seen = {split: {p.prompt for p in problems(world, split, None, 500, STREAMS)} for split in splits}
        told = {decode(d.prompt) for d in block(world, STREAMS, 3, 2000)}
        assert not any(a & b for a, b in combinations([*seen.values(), told], 2))
        assert seen["test"]


@pytest.mark.parametrize(
    "prompt", ["BOS CTL15 saw 3 ?", "BOS CTL15 plum f ?", "BOS CTL10 plum 3 ?", "", "BOS CTL15 plum 3"]
)
def test_other_prompts_are_refused(prompt):
    with pytest.raises(InputError):
        read_prompt(CYCLES, encode(prompt))


@pytest.mark.parametrize("wrong", [{"kind": "trees"}, {"switch": 1.0}, {"switch": -0.1}, {"tokens": 4}])
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        SearchWorld(**wrong)
