"""UNANSWERABLE: twins with the same statements, the verifier, and what a prompt gives away."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, block, problems, world_from_json, world_to_json
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.unanswerable import UnanswerableWorld
from keyturn.problems.world.unanswerable_puzzle import draw_puzzle, values
from keyturn.problems.world.verify_unanswerable import ABSTAIN
from keyturn.problems.world.vocabulary import EOS, FILLER, NOUN, VALUE, WORDS, decode, encode

WORLD = WORLDS["unanswerable"]
STREAMS = Streams(47)
STATEMENTS = "BOS C1 lime = fig + 3 ; plum = pear - 1 ; fig = 4 ; pear = 2 ; pear = 0 ;"
WHOLE, BROKEN = f"{STATEMENTS} ASK lime ?", f"{STATEMENTS} ASK plum ?"
VALUED = "NEED lime = fig + 3 ; NEED fig = 4 ; EX fig 4 ; EX lime 4 + 3 2 ; ANS 2 EOS"
ABSTAINED = "NEED plum = pear - 1 ; NEED pear = 2 = 0 ; ANS CTL9 EOS"


def read(completion, prompt=WHOLE, *, ended=True):
    return WORLD.reader(encode(prompt))(encode(completion), ended=ended)


def determined(prompt, modulus=5):
    """Sets of possible values by going through the definitions until nothing changes; read apart."""
    body, asked = prompt.removeprefix("BOS C1 ").removesuffix(" ?").split(" ASK ")
    equations = [part.split() for part in body.removesuffix(";").split(" ;") if part.strip()]
    names = {word for part in equations for word in part if encode(word)[0] in range(NOUN, NOUN + 12)} | {asked}
    possible = {name: set(range(modulus)) for name in names}
    for _ in range(len(equations) + 1):
        for name, _, *written in equations:
            if len(written) == 1:
                possible[name] = possible[name] & {int(written[0])}
            else:
                sign = 1 if written[1] == "+" else -1
                reached = {(value + sign * int(written[2])) % modulus for value in possible[written[0]]}
                possible[name] = possible[name] & reached
    return possible[asked]


def test_there_is_an_answer_exactly_where_the_definitions_leave_one_value():
    asked = problems(WORLD, "test", None, 20, STREAMS)
    for problem in asked:
        found = determined(problem.prompt)
        if problem.cell["asked"] == "whole":
            assert found == {int(problem.answer)}
        else:
            assert problem.answer == "CTL9"
            assert len(found) == (5 if problem.cell["defect"] == "missing" else 0)
    assert len({p.id for p in asked}) == len(asked)


def test_every_problem_has_a_twin_with_the_same_statements():
    for depth in (2, 4):
        for defect in ("missing", "contradictory"):
            cell = {"depth": depth, "defect": defect}
            whole, broken = (
                problems(WORLD, "test", [{**cell, "asked": asked}], 30, STREAMS)
                for asked in ("whole", "broken")
            )
            assert [p.facts["twin"] for p in whole] == [p.id for p in broken]
            assert [p.facts["twin"] for p in broken] == [p.id for p in whole]
            for one, other in zip(whole, broken, strict=True):
                assert one.prompt.split(" ASK ")[0] == other.prompt.split(" ASK ")[0]
                assert one.prompt != other.prompt
                counts = [
                    Counter(p.prompt.split(" ASK ")[0].split())[p.prompt.split()[-2]] for p in (one, other)
                ]
                assert counts == [1, 1], "both asked names stand once in the statements"


@pytest.mark.parametrize("name", ["unanswerable", "unanswerable-rare", "unanswerable-absent"])
def test_every_text_is_read_as_it_was_written(name):
    world = WORLDS[name]
    texts = block(world, STREAMS, 0, 400)
    for text in texts:
        reading = world.reader(list(text.prompt))(list(text.completion), ended=True)
        assert reading.verified
        assert reading.process == reading.efficiency == 1
        assert reading.roles == list(text.roles)
        assert {at: n for at, n in enumerate(reading.choices) if n} == {
            at: len(ids) for at, ids in text.choices.items()
        }
        assert (ABSTAIN in text.completion) == (text.component == "unanswerable")
        assert len(text.prompt) <= world.max_prompt_tokens
        assert len(text.completion) <= world.max_new_tokens
    share = sum(ABSTAIN in text.completion for text in texts) / len(texts)
    assert share == pytest.approx(world.unanswerable, abs=0.07)
    seen = {p.cell["asked"] for p in problems(world, "test", None, 1, STREAMS) if p.facts["seen"]}
    assert seen == ({"whole"} if name == "unanswerable-absent" else {"whole", "broken"})


def survivors(reader_of, texts):
    """Single-token changes of valid traces that are judged wrongly."""
    found = []
    near = [
        *range(VALUE, VALUE + 6),
        *range(NOUN, NOUN + 4),
        *encode("+ - = ; EX NEED ANS"),
        FILLER,
        EOS,
        ABSTAIN,
    ]
    for text in texts:
        reader = reader_of(list(text.prompt))
        for at, was in enumerate(text.completion):
            for token in near:
                if token == was:
                    continue
                changed = [*text.completion[:at], token, *text.completion[at + 1 :]]
                reading = reader(changed, ended=True)
                # Another step that the grammar allows is seen to be wrong at its name, one token later.
                late = 1 if was in encode("EX ANS") and token in encode("NEED") else 0
                if reading.verified or not at <= reading.first_error <= at + late:
                    found.append((decode(changed), at, reading.first_error))
    return found


def test_any_single_token_change_of_a_valid_trace_is_an_error_there():
    assert not survivors(WORLD.reader, block(WORLD, STREAMS, 1, 15))


def test_a_verifier_that_reads_the_answer_only_is_rejected_by_the_changes():
    def lazy(prompt):
        real = WORLD.reader(prompt)
        return lambda ids, *, ended: (r := real(ids, ended=ended))._replace(verified=r.outcome)

    assert survivors(lazy, block(WORLD, STREAMS, 1, 3))


def test_abstaining_is_right_only_where_there_is_no_answer():
    assert read(VALUED).verified
    assert read(ABSTAINED, BROKEN).verified
    assert not read("ANS CTL9 EOS").outcome
    guess = read("ANS CTL9 EOS", BROKEN)
    assert guess.outcome
    assert not guess.verified
    hallucinated = read(
        "NEED plum = pear - 1 ; NEED pear = 2 ; EX pear 2 ; EX plum 2 - 1 1 ; ANS 1 EOS", BROKEN
    )
    assert not hallucinated.outcome
    assert hallucinated.first_error_role == Role.VERIFY, "it did not see the second definition"
    assert hallucinated.answer == "1"
    missed = read("NEED lime = fig + 3 ; NEED fig ~ ; ANS CTL9 EOS")
    assert not missed.outcome
    assert missed.first_error_role == Role.VERIFY


def test_an_error_is_counted_once_and_not_where_it_is_carried_to():
    carried = read(VALUED.replace("EX fig 4 ; EX lime 4 + 3 2 ; ANS 2", "EX fig 1 ; EX lime 1 + 3 4 ; ANS 4"))
    assert sum(carried.errors) == 1
    assert carried.first_error_role == Role.LOOKUP
    assert carried.process == 2 / 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=50), st.booleans())
def test_hostile_ids_have_a_verdict(ids, whole):
    reading = WORLD.reader(encode(WHOLE if whole else BROKEN))(ids, ended=True)
    assert not reading.verified
    assert len(reading.roles) == len(reading.errors) == len(ids)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        WHOLE.replace("ASK lime", "ASK 3"),
        WHOLE.replace("fig = 4", "fig = 7"),
        WHOLE.replace("fig = 4", "fig 4"),
        WHOLE.replace("fig = 4", "fig = lime + 1"),
    ],
    ids=["nothing", "no name", "no residue", "no definition", "a circle"],
)
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(InputError):
        WORLD.reader(encode(prompt))


def test_puzzles_have_one_defect_and_never_at_the_end():
    dice = Dice(STREAMS.generator("puzzles"))
    for depth in (2, 3, 6):
        for defect in ("missing", "contradictory"):
            for _ in range(100):
                broken, whole = draw_puzzle(depth, defect, 5, dice).chains
                marks = [link.missing or link.other >= 0 for link in broken]
                assert sum(marks) == 1
                assert not marks[-1]
                assert not any(link.missing or link.other >= 0 for link in whole)
                assert all(link.other != link.constant for link in broken)
                assert values(whole, 5)[-1] in range(5)


def test_splits_are_disjoint_and_twins_share_one():
    found = {}
    for split in ("pretrain", "rl", "validation", "test"):
        asked = problems(WORLD, split, [{"depth": 2, "defect": "missing", "asked": "whole"}], 60, STREAMS)
        found[split] = {p.prompt for p in asked}
        assert {p.split for p in asked} == {split}
    assert not any(a & b for a, b in combinations(found.values(), 2))


@pytest.mark.slow
@pytest.mark.parametrize("defect", ["missing", "contradictory"])
def test_a_classifier_of_prompts_cannot_tell_which_twin_has_an_answer(defect):
    cells = [{"depth": 3, "defect": defect, "asked": asked} for asked in ("whole", "broken")]
    learn, test = (problems(WORLD, split, cells, 400, STREAMS) for split in ("rl", "test"))
    found = audit(learn, test, label=lambda p: str(p.facts["answerable"]), strength=0.1)
    assert found.majority == 0.5
    assert found.accuracy < 0.5 + 4 * found.standard_error, found
    lengths = {p.cell["asked"]: {len(p.prompt.split()) for p in test} for p in test}
    assert lengths["whole"] == lengths["broken"]
    # The audit does see a cue where there is one: answerable ones with another defect are shorter.
    mixed = [
        problems(WORLD, s, [{"depth": 3, "defect": "missing", "asked": "whole"}], 150, STREAMS)
        for s in ("rl", "test")
    ]
    other = [
        problems(WORLD, s, [{"depth": 3, "defect": "contradictory", "asked": "broken"}], 150, STREAMS)
        for s in ("rl", "test")
    ]
    seen = audit(
        [*mixed[0], *other[0]], [*mixed[1], *other[1]], label=lambda p: str(p.facts["answerable"]), strength=0.1
    )
    assert seen.accuracy > 0.9


@pytest.mark.slow
def test_a_classifier_of_prompts_cannot_tell_the_value():
    cell = [{"depth": 3, "defect": "missing", "asked": "whole"}]
    learn, test = (problems(WORLD, split, cell, 600, STREAMS) for split in ("rl", "test"))
    found = audit(learn, test, strength=0.1)
    assert found.accuracy < found.majority + 4 * found.standard_error, found


def test_worlds_survive_json_and_impossible_cells_are_refused():
    for name in ("unanswerable", "unanswerable-rare", "unanswerable-absent"):
        assert world_from_json(world_to_json(WORLDS[name])) == WORLDS[name]
    for cell in (
        {"depth": 9, "defect": "missing", "asked": "whole"},
        {"depth": 3, "defect": "x", "asked": "whole"},
    ):
        with pytest.raises(UsageError):
            problems(WORLD, "test", [cell], 1, STREAMS)


@pytest.mark.parametrize(
    "wrong", [{"unanswerable": 1.5}, {"depths": (1,)}, {"defects": ("odd",)}, {"modulus": 2}, {"rl_depths": ()}]
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        UnanswerableWorld(**wrong)
