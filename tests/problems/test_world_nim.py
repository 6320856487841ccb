"""NIM: which moves win, texts of rule and search, the verifier, and what a prompt gives away."""

from collections import Counter
from functools import cache
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, problems, world_from_json, world_to_json
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.nim import NimWorld, canonical
from keyturn.problems.world.nim_play import NIM, Node, Position, every_move, winning_moves
from keyturn.problems.world.nim_text import document_of, linearised, search_nodes, write_rule, write_search
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.vocabulary import EOS, MAP, VALUE, WORDS, decode, encode

WORLD = WORLDS["nim"]
STREAMS = Streams(43)
PROMPT = "BOS CTL8 - 3 ; f 5 g 4 h 7 ?"
RULE = "FWD DO f 5 1 1 ; DO g 4 0 1 ; DO h 7 3 2 ; -> f 1 3 2 ; ANS f 2 EOS"
SEARCH = "SCAN DO f 5 1 ; DO g 4 0 ; DO h 7 3 ; EX f 1 0 0 0 3 BK ; EX f 2 3 3 3 0 OK ; ANS f 2 EOS"


def read(completion, prompt=PROMPT, *, ended=True):
    return WORLD.reader(encode(prompt))(encode(completion), ended=ended)


@cache
def lost(takes, sizes):
    """By the rules of the game alone: no move leads to a lost position."""
    moves = ((heap, n) for heap, size in enumerate(sizes) for n in range(1, min(takes, size) + 1))
    after = (tuple(sorted((*sizes[:h], sizes[h] - n, *sizes[h + 1 :]))) for h, n in moves)
    return not any(lost(takes, position) for position in after)


def test_winning_moves_are_those_of_the_game_tree():
    for takes in (1, 2, 3):
        for sizes in combinations(range(takes, 11), 3):
            position = Position(takes, sizes)
            wins = [
                Node(heap, n)
                for heap, n in every_move(position)
                if lost(takes, tuple(sorted((*sizes[:heap], sizes[heap] - n, *sizes[heap + 1 :]))))
            ]
            assert list(winning_moves(position)) == wins


@pytest.mark.parametrize("name", ["nim", "nim-rule", "nim-search", "nim-answer"])
def test_every_text_is_read_as_it_was_written(name):
    world = WORLDS[name]
    texts = block(world, STREAMS, 0, 300)
    for text in texts:
        reading = world.reader(list(text.prompt))(list(text.completion), ended=True)
        assert reading.outcome
        assert reading.verified == (reading.process == 1) == (text.component != "DIR")
        assert reading.strategy == text.component
        assert reading.roles == list(text.roles)
        assert not any(reading.errors)
        assert {at: n for at, n in enumerate(reading.choices) if n} == {
            at: len(ids) for at, ids in text.choices.items()
        }
        assert len(text.completion) <= world.max_new_tokens
        assert len(text.prompt) <= world.max_prompt_tokens
    shares = Counter(text.component for text in texts)
    assert all(abs(shares[s] / 300 - share) < 0.09 for s, share in world.strategies.items())


def test_the_longest_search_fits():
    deep = next(p for p in problems(WORLD, "test", [{"heaps": 5, "takes": 3}], 40, STREAMS) if p.facts["lost"])
    text = WORLD.demonstrate(deep, STREAMS, strategy="SCAN")
    assert len(text.completion) == WORLD.max_new_tokens
    assert len(text.prompt) == WORLD.max_prompt_tokens


def survivors(reader_of, texts):
    """Single-token changes of valid traces that are judged wrongly."""
    found = []
    near = [*range(VALUE, VALUE + 5), MAP, MAP + 1, MAP + 2, *encode("~ BK OK ; ANS EX"), EOS]
    for text in texts:
        reader = reader_of(list(text.prompt))
        for at, role in enumerate(text.roles):
            for token in near:
                if token == text.completion[at]:
                    continue
                changed = [*text.completion[:at], token, *text.completion[at + 1 :]]
                reading = reader(changed, ended=True)
                fair = (
                    reading.first_error == at
                    if role not in (Role.PLAN, Role.STRATEGY)
                    else (reading.first_error >= at)
                )
                if reading.verified or not fair:
                    found.append((decode(changed), at))
    return found


def some_texts(count):
    return [t for t in block(WORLD, STREAMS, 1, 2 * count) if t.component != "DIR"][:count]


def test_any_single_token_change_of_a_valid_trace_is_an_error_there():
    assert not survivors(WORLD.reader, some_texts(12))


def test_a_verifier_that_reads_the_answer_only_is_rejected_by_the_changes():
    def lazy(prompt):
        real = WORLD.reader(prompt)
        return lambda ids, *, ended: (r := real(ids, ended=ended))._replace(verified=r.outcome)

    assert survivors(lazy, some_texts(5))


def test_any_winning_move_is_right_and_a_lost_position_needs_every_move():
    assert read(RULE).verified
    assert read(SEARCH).verified
    other = RULE.replace("-> f 1 3 2 ; ANS f 2", "-> h 3 1 2 ; ANS h 2")
    assert read(other).verified
    assert read("DIR ANS g 2 EOS").outcome
    assert not read("DIR ANS g 2 EOS").verified
    assert not read("DIR ANS g 1 EOS").outcome
    even = "BOS CTL8 - 1 ; f 2 g 4 ?"
    whole = "SCAN DO f 2 0 ; DO g 4 0 ; EX f 1 1 1 1 BK ; EX g 1 1 0 1 BK ; ANS ~ EOS"
    assert read(whole, even).verified
    early = read(whole.replace("EX g 1 1 0 1 BK ; ", ""), even)
    assert early.outcome
    assert not early.verified
    assert early.process == pytest.approx(3 / 4)


def test_searches_may_go_in_any_order_but_stop_at_a_win_and_try_a_move_once():
    any_order = SEARCH.replace("EX f 1 0 0 0 3 BK", "EX h 1 2 1 1 3 BK")
    assert read(any_order).verified
    twice = SEARCH.replace("EX f 2", "EX f 1 0 0 0 3 BK ; EX f 2")
    assert read(twice).first_error_role == Role.PLAN
    past = SEARCH.replace("OK ;", "OK ; EX h 1 2 1 1 3 BK ;")
    assert read(past).outcome
    assert not read(past).verified
    assert read(SEARCH).efficiency == 1 / 2


def test_an_error_is_counted_once_and_not_where_it_is_carried_to():
    carried = (
        RULE.replace("g 4 0 1", "g 4 1 0")
        .replace("h 7 3 2", "h 7 3 3")
        .replace("-> f 1 3 2 ; ANS f 2", "-> f 1 2 3 ; ANS f 3")
    )
    reading = read(carried)
    assert sum(reading.errors) == 1
    assert reading.first_error_role == Role.ARITHMETIC
    assert not reading.outcome
    assert reading.process == 1 / 4


@pytest.mark.parametrize("arm", ["search", "optimal", "shuffled", "answer"])
def test_linearised_searches_and_their_controls(arm):
    positions = [Position(3, sizes) for sizes in permutations((4, 5, 7))] + [Position(1, (2, 4, 6))]
    dice = Dice(STREAMS.generator("arms"))
    verified, tokens = [], []
    for position in positions:
        text = linearised(position, arm, dice)
        reading = WORLD.reader(list(text.prompt))(list(text.completion), ended=True)
        assert reading.outcome
        verified.append(reading.verified)
        tokens.append(len(text.completion))
        nodes = search_nodes(position)
        if arm == "optimal" and winning_moves(position):
            assert reading.efficiency == 1
        if arm == "search":
            assert text.completion == write_search(position, nodes).completion
    whole = [len(document_of(position, "SCAN").completion) for position in positions]
    expected = {"search": [True] * 7, "optimal": [True] * 7, "answer": [False] * 7}
    assert verified == expected[arm] if arm in expected else not all(verified)
    assert sum(tokens) == sum(whole) if arm in ("search", "shuffled") else sum(tokens) < sum(whole)


def test_listed_completions_are_verified_different_and_whole_where_they_say_so():
    for problem in problems(WORLD, "test", [{"heaps": 2, "takes": 2}, {"heaps": 3, "takes": 3}], 4, STREAMS):
        listed = WORLD.valid_completions(problem, cap=300)
        reader = WORLD.reader(encode(problem.prompt))
        assert len(set(listed.ids)) == len(listed.ids) <= 300
        assert all(reader(list(ids), ended=True).verified for ids in listed.ids)
        assert listed.complete == (listed.left_out == "")
        assert listed.complete or problem.cell["heaps"] == 3
    small = problems(WORLD, "test", [{"heaps": 2, "takes": 1}], 20, STREAMS)
    won = next(p for p in small if not p.facts["lost"])
    # Both heaps win: two rules, and a search that begins with either.
    assert len(WORLD.valid_completions(won).ids) == 4
    assert not WORLDS["nim-search"].valid_completions(won).complete


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=40))
def test_hostile_ids_have_a_verdict(ids):
    reading = WORLD.reader(encode(PROMPT))(ids, ended=True)
    assert not reading.verified
    assert len(reading.roles) == len(reading.errors) == len(ids)


@pytest.mark.parametrize(
    "prompt",
    ["", "BOS CTL8 - 3 ; ?", "BOS CTL8 - 3 ; f 2 ?", "BOS CTL8 - 3 ; g 5 f 4 ?", "BOS CTL8 - 0 ; f 4 ?"],
)
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(InputError):
        WORLD.reader(encode(prompt))


def test_one_in_k_plus_one_is_lost_and_splits_do_not_depend_on_the_order_of_heaps():
    for takes in (1, 2, 3):
        asked = problems(WORLD, "rl", [{"heaps": 4, "takes": takes}], 200, STREAMS)
        assert abs(sum(p.facts["lost"] for p in asked) / len(asked) - 1 / (takes + 1)) < 0.1
    forms = {}
    for split in ("pretrain", "rl", "validation", "test"):
        cells = [{"heaps": n, "takes": k} for n in (2, 3) for k in (1, 2, 3)]
        found = problems(WORLD, split, cells, 12, STREAMS)
        forms[split] = {
            canonical(Position(ids[3] - VALUE, tuple(i - VALUE for i in ids[6:-1:2])))
            for ids in (encode(p.prompt) for p in found)
        }
    assert not any(a & b for a, b in combinations(forms.values(), 2))


def test_a_rule_with_another_winning_move_is_a_text_of_its_own():
    position = Position(3, (5, 4, 7))
    texts = {write_rule(position, move).completion for move in winning_moves(position)}
    assert len(texts) == 3


@pytest.mark.slow
@pytest.mark.parametrize("takes", [1, 2, 3])
def test_a_classifier_of_prompts_stays_at_the_majority_rate(takes):
    cell = [{"domain": "nim", "heaps": 4, "takes": takes}]
    learn, test = (problems(WORLD, split, cell, 700, STREAMS) for split in ("pretrain", "test"))
    for label in (lambda p: p.answer, lambda p: str(p.facts["lost"])):
        found = audit(learn, test, label=label, strength=0.1)
        assert found.accuracy < found.majority + 4 * found.standard_error, found


def test_worlds_survive_json_and_impossible_cells_are_refused():
    for name in ("nim", "nim-rule", "nim-search", "nim-answer"):
        assert world_from_json(world_to_json(WORLDS[name])) == WORLDS[name]
    with pytest.raises(UsageError):
        problems(WORLD, "test", [{"heaps": 9, "takes": 2}], 1, STREAMS)
    assert WORDS[NIM] == "CTL8"


@pytest.mark.parametrize(
    "wrong", [{"heaps": (1,)}, {"takes": (4,)}, {"strategies": {"FWD": 0.5}}, {"strategies": {"BWD": 1.0}}]
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        NimWorld(**wrong)
