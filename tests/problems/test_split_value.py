"""What a split into abstractions and solutions is worth, against counting and against draws."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.core.errors import UsageError
from keyturn.problems.world.split_value import distinct, independent, splits, told

LAW, RATES = np.array([0.5, 0.3, 0.2]), np.array([0.6, 0.1, 0.0])


def test_splits_are_all_products():
    assert list(splits(12)) == [(1, 12), (2, 6), (3, 4), (4, 3), (6, 2), (12, 1)]
    assert list(splits(1)) == [(1, 1)]


@pytest.mark.parametrize(("count", "solutions"), [(1, 4), (2, 2), (3, 1)])
def test_independent_abstractions_are_counted_one_by_one(count, solutions):
    total = 0.0
    for chosen in product(range(3), repeat=count):
        fails = np.prod([(1 - RATES[z]) ** solutions for z in chosen])
        total += np.prod(LAW[list(chosen)]) * (1 - fails)
    assert independent(LAW, RATES, count, solutions) == pytest.approx(total)


@pytest.mark.parametrize(("count", "solutions"), [(1, 4), (2, 2), (3, 1)])
def test_different_abstractions_are_counted_one_by_one(count, solutions):
    found = [
        1 - np.prod([(1 - RATES[z]) ** solutions for z in chosen]) for chosen in combinations(range(3), count)
    ]
    assert distinct(RATES, count, solutions) == pytest.approx(np.mean(found))


def test_draws_agree_with_what_is_computed():
    dice, trials, (count, solutions) = np.random.default_rng(0), 40_000, (2, 3)
    words = dice.choice(3, size=(trials, count), p=LAW)
    right = dice.random((trials, count, solutions)) < RATES[words][:, :, None]
    assert independent(LAW, RATES, count, solutions) == pytest.approx(right.any(axis=(1, 2)).mean(), abs=0.01)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=5),
    st.sampled_from([6, 8, 12]),
)
@settings(max_examples=25, deadline=None)
def test_of_independent_abstractions_one_solution_each_is_best_and_worth_as_much_as_plain_draws(pairs, draws):
    law, rates = np.array(pairs).T
    law = law / law.sum()
    worth = [independent(law, rates, count, solutions) for count, solutions in splits(draws)]
    assert worth == sorted(worth) or np.allclose(worth, sorted(worth), atol=1e-12)
    assert worth[-1] == pytest.approx(1 - (1 - law @ rates) ** draws)


def test_different_ones_beat_independent_ones_and_knowing_beats_both():
    even = np.full(4, 0.25)
    rates = [0.5, 0.1, 0.1, 0.1]
    assert independent(even, rates, 4, 1) < distinct(rates, 4, 1) < told(rates, 4)


def test_a_law_may_leave_something_out_that_is_never_right_and_nonsense_is_refused():
    assert independent([0.5], [1.0], 2, 1) == pytest.approx(0.75)
    with pytest.raises(UsageError, match=r"sums to 1\.2"):
        independent([0.6, 0.6], [0, 0], 1, 1)
    with pytest.raises(UsageError, match="3 different abstractions of 2"):
        distinct([0.1, 0.2], 3, 1)
    for law, rates in (([], []), ([0.5], [1.5]), ([0.5, 0.5], [0.5])):
        with pytest.raises(UsageError, match="law and successes"):
            independent(law, rates, 1, 1)
