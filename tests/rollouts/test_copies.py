"""Copies among draws: never found where there are none, found where planted, taken out exactly."""

from collections import Counter
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from drawn_texts import (
    POLICIES,
    Texts,
    appended,
    generator,
    greedy,
    independent,
    one_seed,
    resumed_behind,
    two_stages,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyturn.rollouts.copies import find_copies, find_shared
from keyturn.rollouts.copies.evidence import (
    order_evidence,
    same_place_evidence,
    same_texts_evidence,
    split_bound,
)
from keyturn.rollouts.copies.patterns import blocks, overlap, period

short = st.lists(st.integers(0, 2), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    short,
    st.sampled_from([period(1), period(2), period(3), blocks(2), blocks(3), overlap(1, 1), overlap(1, 2)]),
)
def test_the_stakes_on_an_order_are_fair_whatever_texts_came(texts, source):
    orders = list(permutations(texts))
    mean = np.mean([np.exp(order_evidence(order, source(len(order)))) for order in orders])
    assert mean <= 1.0 + 1e-9


@settings(max_examples=40, deadline=None)
@given(short, short)
def test_the_stakes_on_equal_places_are_fair_whatever_texts_came(base, tuned):
    mean = np.mean([np.exp(same_place_evidence(base, order)) for order in permutations(tuned)])
    assert mean <= 1.0 + 1e-9


def within_classes(draws, key):
    """Every order of a file sorted by ``key``: the draws of one class may have changed places."""
    classes = [[text for text in draws if key[text] == value] for value in (0, 1)]
    return [list(a + b) for a in permutations(classes[0]) for b in permutations(classes[1])]


keys = st.tuples(*[st.integers(0, 1)] * 3)


@settings(max_examples=60, deadline=None)
@given(short, keys, st.sampled_from([period(1), period(2), period(3), blocks(2), overlap(1, 1), overlap(1, 2)]))
@example([0, 0, 0, 0, 0, 1], (0, 1, 0), overlap(1, 2))
def test_the_stakes_on_an_order_are_fair_whatever_the_file_was_sorted_by(texts, key, source):
    mean = np.mean([np.exp(order_evidence(o, source(len(o)))) for o in within_classes(texts, key)])
    assert mean <= 1.0 + 1e-9


@settings(max_examples=60, deadline=None)
@given(short, short.filter(lambda texts: min(Counter(texts).values()) > 1), keys)
def test_the_stakes_on_equal_places_are_fair_whatever_the_file_was_sorted_by(base, tuned, key):
    mean = np.mean([np.exp(same_place_evidence(base, order)) for order in within_classes(tuned, key)])
    assert mean <= 1.0 + 1e-9


def sorted_by(key, problem, texts):
    order = np.lexsort(([key(text) for text in texts], problem))
    return problem[order], [texts[row] for row in order]


SORTED_BY = {"text": lambda text: text, "verdict": lambda text: text.endswith(" 0"), "length": len}


@pytest.mark.parametrize("key", SORTED_BY)
@pytest.mark.parametrize("policy", ["four letters", "two equal", "peaked"])
def test_sorted_files_of_independent_draws_hold_and_share_no_copies(policy, key):
    """Sorted, the common texts of two files stand at the same places, and rare ones at the end."""
    rng = generator(f"sorted {policy} {key}")
    for problems, n in [(8, 16), (24, 8), (40, 16), (60, 4), (60, 2)] * 4:
        texts = Texts(rng, policy, problems)
        base, tuned = (sorted_by(SORTED_BY[key], *independent(texts, n)) for _ in range(2))
        found = find_copies(*base)
        assert found is None or found.keep.all() or "uniform" in found.kinds, found
        shared = find_shared((*base, None), (*tuned, None))
        assert shared is None or shared.kind == "alike", shared


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 2, 3]).flatmap(lambda n: st.lists(st.integers(0, 2), min_size=2 * n, max_size=2 * n))
)
def test_the_stakes_on_equal_texts_are_fair_whatever_texts_came(both):
    half = len(both) // 2
    mean = np.mean([np.exp(same_texts_evidence(order[:half], order[half:])) for order in permutations(both)])
    assert mean <= 1.0 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.floats(0.02, 50.0))
def test_no_odds_share_two_texts_in_multiples_more_often_than_bounded(m, times, odds):
    s = m * times
    n = np.arange(1, s)
    log = np.array([sum(np.log(np.arange(1, s + 1))) - sum(np.log(np.arange(1, k + 1))) for k in n])
    log -= np.array([sum(np.log(np.arange(1, s - k + 1))) for k in n])
    weight = np.exp(log + n * np.log(odds) + 0.0)
    assert weight[n % m == 0].sum() / weight.sum() <= split_bound(s, m)
    in_a_row = odds ** (n - s / 2)
    assert in_a_row[n % m == 0].sum() / in_a_row.sum() <= split_bound(s, m)
    assert split_bound(s, m) < 0.52


@pytest.mark.parametrize("policy", POLICIES)
def test_independent_draws_of_any_policy_are_no_copies(policy):
    rng = generator(policy)
    for problems, n in ((2, 16), (8, 64), (24, 8), (100, 4), (200, 2)):
        for plan in (independent, partial(independent, uneven=True), two_stages):
            problem, texts = plan(Texts(rng, policy, problems), n)
            for order in (np.arange(len(texts)), np.lexsort((texts, problem)), rng.permutation(len(texts))):
                found = find_copies(problem[order], [texts[row] for row in order])
                # A policy that always says the same cannot be told from greedy decoding.
                assert found is None or found.keep.all() or all_alike(problem, texts), found


def all_alike(problem, texts):
    return len(set(texts)) == len(set(problem.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_six_hundred_files_of_independent_draws_hold_no_copies(policy):
    rng = generator("many " + policy)
    wrong = 0
    for number in range(600):
        problem, texts = independent(Texts(rng, policy, 2 + number % 30), (4, 8, 16)[number % 3])
        key = (None, *SORTED_BY.values())[number % 4]
        if key is not None:
            problem, texts = sorted_by(key, problem, texts)
        found = find_copies(problem, texts)
        wrong += found is not None and not found.keep.all() and not all_alike(problem, texts)
    assert wrong == 0


PLANTED = {
    "blocks": lambda texts: one_seed(texts, 16, 2, "blocks"),
    "four workers": lambda texts: one_seed(texts, 16, 4, "blocks"),
    "in turn": lambda texts: one_seed(texts, 16, 2, "in turn"),
    "shuffled": lambda texts: one_seed(texts, 16, 2, "shuffled"),
    "appended": lambda texts: appended(texts, 16),
    "appended twice": lambda texts: texts.table(lambda i: texts.draw(i, 16) * 3),
    "resumed": lambda texts: resumed_behind(texts, 16),
}


@pytest.mark.parametrize("plan", PLANTED)
@pytest.mark.parametrize("policy", ["flat", "thirty answers", "four letters"])
def test_every_planted_kind_is_found_and_its_draws_count_once(plan, policy):
    drawn = Texts(generator(plan + policy), policy, 40)
    once: dict[int, Counter] = {}
    draw = drawn.draw

    def remembered(problem, n):
        texts = draw(problem, n)
        once[problem] = Counter(texts)
        return texts

    drawn.draw = remembered
    problem, texts = PLANTED[plan](drawn)
    found = find_copies(problem, texts)
    assert found is not None
    kept = [(problem[row], texts[row]) for row in np.flatnonzero(found.keep)]
    for index, truth in once.items():
        assert Counter(int(text.split()[-1]) for i, text in kept if i == index) == truth, (index, found.texts)
    assert str(len(texts) - len(kept)) in found.texts[0]


POWER = [  # the fewest problems and draws tried at which at least 19 of 20 planted files are found
    ("flat", "blocks", 8, 16),
    ("four letters", "blocks", 8, 16),
    ("peaked", "blocks", 100, 8),
    ("flat", "in turn", 24, 8),
    ("four letters", "in turn", 100, 8),
    ("peaked", "in turn", 500, 8),
    ("flat", "shuffled", 24, 8),
    ("four letters", "shuffled", 100, 8),
    ("peaked", "shuffled", 500, 8),
]


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "order", "problems", "n"), POWER)
def test_one_seed_in_two_workers_is_found_from_so_many_draws_on(policy, order, problems, n):
    rng = generator(f"power {policy} {order}")
    found = [find_copies(*one_seed(Texts(rng, policy, problems), n, 2, order)) for _ in range(20)]
    assert sum(copies is not None for copies in found) >= 19


def test_a_fifth_of_unlike_copies_hides_nothing():
    rng = generator("unlike")
    problem, texts = one_seed(Texts(rng, "thirty answers", 40), 16, 2, "blocks")
    for row in np.flatnonzero(rng.random(len(texts)) < 0.2):
        texts[row] += " or so"
    found = find_copies(problem, texts)
    assert found is not None
    assert found.keep.sum() == len(texts) / 2


def test_copies_that_differ_in_white_space_alone_are_copies():
    problem, texts = one_seed(Texts(generator("spaces"), "thirty answers", 40), 16, 2, "blocks")
    for row in np.flatnonzero(np.arange(len(texts)) % 16 >= 8):
        texts[row] = texts[row].replace(" ", "  ") + "\n"
    found = find_copies(problem, texts)
    assert found is not None
    assert found.keep.sum() == len(texts) / 2


def test_the_number_of_the_draw_gives_the_order_where_there_is_one():
    rng = generator("order")
    problem, texts = one_seed(Texts(rng, "thirty answers", 10), 32, 2, "blocks")
    draw = np.tile(np.arange(32), 10)
    order = rng.permutation(len(texts))
    found = find_copies(problem[order], [texts[row] for row in order], draw[order])
    assert found is not None
    assert found.kinds == ("period",)
    np.testing.assert_array_equal(np.sort(draw[order][found.keep]), np.sort(np.tile(np.arange(16), 10)))


@pytest.mark.parametrize("policy", POLICIES)
def test_greedy_copies_count_once_and_the_sentence_says_that_it_cannot_be_known(policy):
    problem, texts = greedy(Texts(generator("greedy"), policy, 8), 64)
    found = find_copies(problem, texts)
    assert found is not None
    assert found.kinds == ("uniform",)
    assert found.keep.sum() == 8
    assert "collapsed" in found.texts[0]


def test_greedy_copies_with_a_few_other_roundings_in_long_texts_count_once():
    problem, texts = greedy(Texts(generator("roundings"), "flat", 24), 16)
    texts = [text + " so" * 300 for text in texts]
    texts[5] += " then"
    texts[40] += " then"
    found = find_copies(problem, texts)
    assert found is not None
    assert found.kinds == ("uniform",)
    assert found.keep.sum() == 24


@pytest.mark.parametrize(("problems", "n"), [(8, 4), (29, 2), (200, 1)])
def test_a_few_equal_draws_prove_nothing(problems, n):
    problem, texts = greedy(Texts(generator("few"), "after RL", problems), n)
    assert find_copies(problem, texts) is None


def test_a_collapsed_policy_that_once_said_something_else_keeps_its_draws():
    problem, texts = greedy(Texts(generator("nearly"), "after RL", 100), 8)
    texts[17] += " or so"
    found = find_copies(problem, texts)
    assert found is not None
    assert found.kinds == ("mostly",)
    assert found.keep.all()
    assert "99 of 100 problems" in found.texts[0]


def test_draws_behind_a_repetition_count():
    drawn = Texts(generator("behind"), "thirty answers", 24)
    problem, texts = drawn.table(lambda i: drawn.draw(i, 16) * 2 + drawn.draw(i, 16))
    found = find_copies(problem, texts)
    assert found is not None
    place = np.tile(np.arange(48), 24)
    np.testing.assert_array_equal(found.keep, (place < 16) | (place >= 32))


def test_without_texts_nothing_is_known():
    assert find_copies(np.repeat(np.arange(20), 8), [""] * 160) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_two_policies_drawn_apart_share_no_draws(policy):
    rng = generator("apart " + policy)
    for problems, n in ((2, 16), (8, 64), (24, 8), (100, 4)):
        texts = Texts(rng, policy, problems)
        base, tuned = independent(texts, n), independent(texts, n)
        found = find_shared((*base, None), (*tuned, None))
        assert found is None or (found.kind == "alike" and base[1] == tuned[1])


@pytest.mark.parametrize("policy", ["flat", "thirty answers", "four letters", "peaked"])
def test_one_file_given_twice_is_known_by_its_draws(policy):
    rng = generator("twice " + policy)
    problem, texts = independent(Texts(rng, policy, 40), 16)
    found = find_shared((problem, texts, None), (problem, texts, None))
    assert found is not None
    assert (found.kind, found.equal) == ("same", len(texts))


def test_the_same_draws_in_another_order_are_the_same_draws():
    rng = generator("another order")
    problem, texts = independent(Texts(rng, "thirty answers", 40), 16)
    order = rng.permutation(len(texts))
    other = [texts[row].replace(" ", "  ") + "\n" for row in order]
    found = find_shared((problem, texts, None), (problem[order], other, None))
    assert found is not None
    assert found.kind == "same"


def test_one_seed_in_both_policies_is_said_and_refuses_nothing():
    rng = generator("one seed")
    drawn = Texts(rng, "flat", 24)
    (problem, base), (_, tuned) = independent(drawn, 16), independent(drawn, 16)
    mixed = [ours if rng.random() < 0.5 else theirs for ours, theirs in zip(base, tuned, strict=True)]
    found = find_shared((problem, base, None), (problem, mixed, None))
    assert found is not None
    assert found.kind == "some"


def test_one_draw_a_problem_can_be_alike_by_chance():
    problem, texts = independent(Texts(generator("one draw"), "after RL", 50), 1)
    found = find_shared((problem, texts, None), (problem, list(texts), None))
    assert found is not None
    assert found.kind == "alike"
