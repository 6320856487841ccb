"""BELIEF: what follows from who saw what, stories without short cuts, and the verifier."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hand_made import in_world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from keyturn.core.errors import InputError, UsageError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world import WORLDS, WorldGrader, block, problems, world_from_json, world_to_json
from keyturn.problems.world.belief import BeliefWorld, canonical
from keyturn.problems.world.belief_story import BELIEF, HIDDEN, LISTS, PEOPLE, PLACES, draw_story, ranks, sees
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.shortcuts import audit
from keyturn.problems.world.vocabulary import ASK, END, EOS, WORDS, decode, encode

WORLD = WORLDS["belief"]
STREAMS = Streams(41)
PROMPT = (
    "BOS CTL7 apple saw ; pear file ; apple saw plane cod eel ~ ray ; pear file drill eel cod ~ seal ; "
    "apple plane clamp eel ray ~ cod ; apple clamp rasp cod seal ~ eel ; ASK cod eel apple ?"
)
GOLD = (
    "FWD DO apple saw -> saw cod saw eel saw ; DO saw plane cod eel ~ ray -> plane cod plane eel plane ; "
    "DO plane clamp eel ray ~ cod -> clamp cod clamp eel clamp ; "
    "DO clamp rasp cod seal ~ eel -> rasp cod rasp eel clamp ; ANS clamp EOS"
)


def read(completion, prompt=PROMPT, *, ended=True):
    return WORLD.reader(encode(prompt))(encode(completion), ended=ended)


def told(prompt):
    """Starts, moves (object, place, open watchers, hidden one) and question of a prompt, read apart."""
    ids = encode(prompt)
    body, asked = ids[2 : ids.index(ASK)], ids[ids.index(ASK) + 1 : -1]
    parts = decode(body).split(WORDS[END])[:-1]
    moves = [(p[0], p[2], set(p[3:5]), p[6]) for p in (encode(part) for part in parts[2:])]
    return [tuple(encode(part)) for part in parts[:2]], moves, asked[:-1], asked[-1]


def think(chain, moves, start):
    """Nested belief, the slow way: put yourself in the first agent's place, keep what it saw, go on inside."""
    if not chain:
        return moves[-1][0] if moves else start
    return think(chain[1:], [(place, known) for place, known in moves if chain[0] in known], start)


def believed(chain, prompt):
    starts, moves, _, asked = told(prompt)
    start = dict(starts)[asked]
    mine = [(place, seen, hidden) for name, place, seen, hidden in moves if name == asked]
    # The first agent knows of itself whether it watches; of others it knows the open ones only.
    views = [(p, seen | ({hidden} if chain and chain[0] == hidden else set())) for p, seen, hidden in mine]
    return think(tuple(chain), views, start)


def test_answers_are_those_of_a_simulation_that_goes_from_mind_to_mind():
    asked = problems(WORLD, "test", None, 25, STREAMS)
    for problem in asked:
        *_, chain, _ = told(problem.prompt)
        assert WORDS[believed(chain, problem.prompt)] == problem.answer
        assert len(chain) == problem.cell["order"]
    turned = sum(
        believed(chain[::-1], p.prompt) != believed(chain, p.prompt)
        for p in asked
        if len(chain := told(p.prompt)[2]) == 2
    )
    assert turned > 12, "who thinks about whom must matter"


def test_twelve_lists_of_watchers_of_one_shape_and_secret_ones_do_not_count_inside():
    assert len(set(LISTS)) == 12
    assert [sum(sees(order, w) for w in LISTS) for order in range(4)] == [12, 9, 4, 1]
    assert all(len({*w.open, w.hidden}) == 3 for w in LISTS)


@pytest.mark.parametrize("name", ["belief", "belief-natural", "belief-first"])
def test_every_text_is_read_as_it_was_written(name):
    world = WORLDS[name]
    texts = block(world, STREAMS, 0, 200)
    for text in texts:
        reading = world.reader(list(text.prompt))(list(text.completion), ended=True)
        direct = text.component == "direct"
        assert reading.outcome
        assert reading.verified == (not direct)
        assert reading.more["trace_f1"] == reading.process == (not direct)
        assert reading.roles == list(text.roles)
        assert not any(reading.errors)
        assert len(text.prompt) <= world.max_prompt_tokens
        assert len(text.completion) <= world.max_new_tokens
    assert abs(sum(t.component == "direct" for t in texts) / len(texts) - world.direct) < 0.08


def test_the_longest_problems_fit():
    world = replace(WORLD, moves=(5,), test_orders=(3,), test_moves=(5,))
    problem = problems(world, "test", None, 1, STREAMS)[0]
    assert len(encode(problem.prompt)) == world.max_prompt_tokens
    assert len(world.valid_completions(problem).ids[0]) == world.max_new_tokens


def survivors(reader_of, texts, generator):
    """Single-token changes of valid traces that are judged wrongly."""
    found = []
    for text in texts:
        reader = reader_of(list(text.prompt))
        for at, token in enumerate(text.completion):
            near = [t for t in (*PEOPLE, *PLACES, END, EOS, HIDDEN) if t != token]
            for other in generator.choice(near, 3, replace=False).tolist():
                changed = [*text.completion[:at], other, *text.completion[at + 1 :]]
                reading = reader(changed, ended=True)
                before_answer = at < len(changed) - 3
                fair = reading.first_error == at and reading.outcome == before_answer
                if reading.verified or not fair:
                    found.append((decode(changed), at))
    return found


def test_any_single_token_change_of_a_valid_trace_is_the_first_error_and_only_the_answer_decides_the_outcome():
    texts = [t for t in block(WORLD, STREAMS, 1, 60) if t.component == "trace"]
    assert not survivors(WORLD.reader, texts, STREAMS.generator("change"))


def test_a_verifier_that_reads_the_answer_only_is_rejected_by_the_changes():
    def lazy(prompt):
        real = WORLD.reader(prompt)

        def reader(ids, *, ended):
            reading = real(ids, ended=ended)
            return reading._replace(verified=reading.outcome)

        return reader

    texts = [t for t in block(WORLD, STREAMS, 1, 10) if t.component == "trace"]
    assert survivors(lazy, texts, STREAMS.generator("change"))


def test_an_error_counts_once_and_the_f1_counts_what_is_said():
    assert read(GOLD).verified
    # Eel's belief is updated although eel watches in secret: one error, carried to the answer.
    wrong = GOLD.replace("rasp eel clamp", "rasp eel rasp").replace("ANS clamp", "ANS rasp")
    reading = read(wrong)
    assert not reading.outcome
    assert sum(reading.errors) == 1
    assert reading.first_error_role == Role.ARITHMETIC
    assert reading.process == 3 / 4
    assert reading.more["trace_f1"] == pytest.approx(11 / 12)
    half = "FWD DO apple saw -> saw cod saw eel saw ; DO saw plane cod eel ~ ray -> plane cod plane eel plane ;"
    assert read(half, ended=False).more["trace_f1"] == pytest.approx(2 * 6 / (6 + 12))
    answer_only = read("DIR ANS clamp EOS")
    assert answer_only.outcome
    assert not answer_only.verified
    assert answer_only.more["trace_f1"] == 0


def test_grades_have_the_f1_as_a_column():
    asked = problems(WORLD, "test", [{"order": 2, "moves": 2}], 3, STREAMS)
    rows = [list(WORLD.demonstrate(p, STREAMS, strategy=s).completion) for p in asked for s in ("FWD", "DIR")]
    drawn = in_world(asked, [(i // 2, row) for i, row in enumerate(rows)])
    grades = WorldGrader(WORLD).grade(asked, drawn)
    assert grades.columns["trace_f1"].tolist() == grades.verified.tolist() == [1, 0] * 3
    assert grades.outcome.tolist() == [1] * 6


def test_skipped_and_foreign_lines_are_planning_errors():
    skipped = GOLD.replace("DO plane clamp eel ray ~ cod -> clamp cod clamp eel clamp ; ", "").replace(
        "DO clamp rasp", "DO plane rasp"
    )
    assert read(skipped).first_error_role == Role.PLAN
    other = read(
        GOLD.replace("DO plane clamp eel ray ~ cod -> clamp", "DO plane drill eel cod ~ seal -> drill", 1)
    )
    assert other.first_error_role == Role.PLAN
    assert other.outcome
    assert not other.verified
    assert not read(GOLD.removesuffix(" EOS"), ended=False).verified
    assert read(GOLD.removesuffix(" EOS"), ended=True).verified


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(WORDS) - 1), max_size=60))
def test_hostile_ids_have_a_verdict(ids):
    reading = WORLD.reader(encode(PROMPT))(ids, ended=True)
    assert not reading.verified
    assert len(reading.roles) == len(reading.errors) == len(reading.choices) == len(ids)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "BOS CH f 3 ?",
        PROMPT.replace("ASK cod eel", "ASK cod cod"),
        PROMPT.replace("apple clamp", "plum clamp"),
        PROMPT.replace("rasp", "plane"),
        PROMPT.replace("clamp rasp", "saw rasp"),
        PROMPT.replace("cod seal ~ eel", "cod seal ~ cod"),
        PROMPT.replace("eel ray ~ cod", "eel ray cod ~"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(InputError):
        WORLD.reader(encode(prompt))


def drawn(order, moves, surface, count):
    dice = Dice(STREAMS.generator("stories", order, moves, surface))
    return [draw_story(order, moves, surface, dice) for _ in range(count)]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_rank_of_the_answer_is_uniform_and_the_bag_of_watchers_does_not_tell_it(order):
    stories = drawn(order, 3, "balanced", 4000)
    answer = [ranks(order, story)[order] for story in stories]
    seen = [sum(sees(order, move.watchers) for move in story) for story in stories]
    assert chisquare(np.bincount(answer, minlength=4)).pvalue > 1e-4
    assert chi2_contingency(crossed(seen, answer)).pvalue > 1e-4
    natural = drawn(order, 3, "natural", 4000)
    told = [ranks(order, story)[order] for story in natural]
    counts = [sum(sees(order, move.watchers) for move in story) for story in natural]
    assert chi2_contingency(crossed(counts, told)).pvalue < 1e-8, "natural stories must fail this test"


def crossed(rows, columns):
    counts = Counter(zip(rows, columns, strict=True))
    return [[counts[r, c] + 0.5 for c in sorted(set(columns))] for r in sorted(set(rows))]


HEURISTICS = {
    "true place": lambda order, story: ranks(order, story)[0],
    "start": lambda order, story: 0,
    "one agent less": lambda order, story: ranks(order, story)[order - 1],
    "first agent": lambda order, story: ranks(order, story)[1] if order > 1 else 0,
    "last agent, in secret or not": lambda order, story: last(
        story, lambda w: order - 1 in w.open or w.hidden == order - 1, order > 1
    ),
    "last place of all": lambda order, story: ranks(order, story)[0] if story[-1].asked else -1,
    "last move with all names": lambda order, story: last(
        story, lambda w: set(range(order)) <= {*w.open, w.hidden}, order > 2
    ),
}


def last(story, fits, meant):
    mine = [move for move in story if move.asked]
    hits = [n for n, move in enumerate(mine, start=1) if fits(move.watchers)]
    return (hits[-1] if hits else 0) if meant else -1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("moves", [1, 2, 4])
def test_no_simple_rule_beats_a_random_place_of_the_asked_object(order, moves):
    stories = drawn(order, moves, "balanced", 2000)
    rates = {
        name: np.mean([rule(order, s) == ranks(order, s)[order] for s in stories])
        for name, rule in HEURISTICS.items()
    }
    chance = 1 / (moves + 1)
    assert max(rates.values()) < chance + 4 * np.sqrt(chance / 2000), rates
    natural = drawn(order, moves, "natural", 2000)
    true = np.mean([ranks(order, s)[0] == ranks(order, s)[order] for s in natural])
    assert true == pytest.approx(0.75, abs=0.05), "natural stories hold the short cut"


def test_the_place_of_order_0_is_not_the_last_place_that_is_named():
    stories = drawn(0, 3, "balanced", 2000)
    assert np.mean([story[-1].asked for story in stories]) == pytest.approx(1 / 4, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_classifier_of_prompts_stays_at_the_majority_rate(order):
    cell = [{"domain": "belief", "order": order, "moves": 2, "surface": "balanced"}]
    learn, test = (problems(WORLD, split, cell, 700, STREAMS) for split in ("rl", "test"))
    if order:
        rank = audit(learn, test, label=lambda p: str(p.facts["rank"]))
        assert rank.accuracy < rank.majority + 4 * rank.standard_error
    place = audit(learn, test)
    # A random place of the asked object; in order 0 one of the two that nothing was moved away from.
    assert place.accuracy < (1 / 3 if order else 1 / 2) + 0.05
    natural = [{**cell[0], "surface": "natural"}]
    learn, test = (problems(WORLD, split, natural, 300, STREAMS) for split in ("rl", "test"))
    if order == 1:
        short = audit(learn, test, label=lambda p: str(p.facts["false_belief"]))
        assert short.majority > 0.7, "on natural stories the majority is a short cut of its own"


def test_splits_are_disjoint_whatever_the_names():
    forms = {}
    for split in ("pretrain", "rl", "validation", "test"):
        cells = [{"order": order, "moves": 2} for order in (0, 1, 2)]
        forms[split] = {p.prompt for p in problems(WORLD, split, cells, 25, STREAMS)}
    assert not any(a & b for a, b in combinations(forms.values(), 2))
    story = drawn(1, 2, "balanced", 1)[0]
    swapped = tuple(
        move._replace(
            watchers=move.watchers._replace(
                open=tuple({2: 3, 3: 2}.get(a, a) for a in move.watchers.open[::-1]),
                hidden={2: 3, 3: 2}.get(move.watchers.hidden, move.watchers.hidden),
            )
        )
        for move in story
    )
    assert canonical(1, story) == canonical(1, swapped)


def test_an_absent_order_is_in_no_text_and_its_problems_say_so():
    world = WORLDS["belief-first"]
    longest = {len(told(decode(text.prompt))[2]) for text in block(world, STREAMS, 2, 300)}
    assert longest == {0, 1}
    asked = problems(world, "test", None, 1, STREAMS)
    assert {p.cell["order"] for p in asked if p.facts["seen"]} == {0, 1}


def test_worlds_survive_json_and_impossible_cells_are_refused():
    for name in ("belief", "belief-natural", "belief-first"):
        assert world_from_json(world_to_json(WORLDS[name])) == WORLDS[name]
    with pytest.raises(UsageError):
        problems(WORLD, "test", [{"order": 7, "moves": 2}], 1, STREAMS)
    with pytest.raises(UsageError, match="strategy"):
        WORLD.demonstrate(problems(WORLD, "test", None, 1, STREAMS)[0], STREAMS, strategy="SCAN")


def test_the_marker_is_a_reserved_word():
    assert WORDS[BELIEF] == "CTL7"


@pytest.mark.parametrize(
    "wrong", [{"orders": (4,)}, {"moves": (6,)}, {"direct": 2}, {"surface": "odd"}, {"test_surfaces": ()}]
)
def test_a_world_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(UsageError):
        BeliefWorld(**wrong)


def test_a_cell_without_forms_ends_instead_of_searching_for_ever():
    world = WORLDS["belief"]
    cells = [{"domain": "belief", "order": order, "moves": 1} for order in (0, 1, 2, 3)]
    for cell in cells:
        found = world.draw_problems("validation", cell, 3, Streams(0))
        assert len({problem.id for problem in found}) == len(found) <= 3
