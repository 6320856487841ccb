"""What sharpening explains, on laws that can be written down."""

import numpy as np
import pytest

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.measures.sharpening import EXPONENTS, divergences, explained, normaliser

PROBLEMS, ANSWERS = 12, 40
LEAST = 0.02


@pytest.fixture(scope="module")
def laws():
    """A law over answers for every problem, ``[problem, answer]``."""
    law = np.random.default_rng(3).dirichlet(np.full(ANSWERS, 0.3), size=PROBLEMS) + 1e-9
    return law / law.sum(axis=1, keepdims=True)


def power(law, exponent):
    out = law**exponent
    return out / out.sum(axis=1, keepdims=True)


def terms(tuned, base):
    return (tuned * np.log(tuned)).sum(1), (tuned * np.log(base)).sum(1)


def exact(base):
    return np.array([np.log((base**a).sum(1)) for a in EXPONENTS])


def said(tuned, base, partition=None):
    found = divergences(*terms(tuned, base), exact(base) if partition is None else partition)
    return explained(found, Streams(0), tokens=4.0)


def test_a_base_that_was_sharpened_leaves_nothing(laws):
    found = said(power(laws, 2.5), laws)
    assert found.exponent == 2.5
    assert found.left.value == pytest.approx(0, abs=1e-9)
    assert found.share.value == pytest.approx(1)
    assert found.divergence.value > 0.1


def test_a_normaliser_that_is_forgotten_is_rejected(laws):
    """Twin: without Z the divergence of a sharpened base is not 0 at its exponent, and below 0 somewhere."""
    found = said(power(laws, 2.5), laws, np.zeros((len(EXPONENTS), PROBLEMS)))
    assert found.exponent == 1.0
    assert found.share.value == 0, "every exponent seems to lead away"


def test_the_base_itself_has_no_divergence_and_no_share(laws):
    found = said(laws, laws)
    assert found.divergence.value == pytest.approx(0, abs=1e-12)
    assert np.isnan(found.share.value)


def test_what_moves_elsewhere_is_not_explained(laws):
    other = np.roll(laws, 7, axis=1)
    found = said(other, laws)
    assert found.exponent == 1.0
    assert found.share.value == 0
    mixed = said(0.5 * other + 0.5 * power(laws, 2.5), laws)
    assert 0 <= mixed.share.value < 0.3


def drawn_from(laws, draws, seed=0):
    dice = np.random.default_rng(seed)
    rows = [(i, answer) for i in range(PROBLEMS) for answer in dice.choice(ANSWERS, size=draws, p=laws[i])]
    problem, answer = np.array(rows).T
    return problem, np.log(laws[problem, answer])


def entropies(laws):
    return -(laws * np.log(laws)).sum(1)


def test_the_normaliser_lies_between_bounds_that_do_not_depend_on_draws(laws):
    listed = np.nonzero(laws >= LEAST)
    given = (listed[0], np.log(laws[listed]))
    truth = exact(laws)
    for draws in (1, 400):
        found = normaliser(given, drawn_from(laws, draws), entropies(laws), least=LEAST, problems=PROBLEMS)
        assert (found.low <= truth + 1e-12).all()
        assert (truth <= found.high + 1e-12).all()
        assert (found.low <= found.value).all()
        assert (found.value <= found.high).all()
    assert np.abs(found.value - truth).max() < 0.05
    none = (np.zeros(0, dtype=int), np.zeros(0))
    by_draws = normaliser(none, drawn_from(laws, 4000), entropies(laws), least=1.0, problems=PROBLEMS)
    assert np.abs(by_draws.value - truth)[:8].max() < 0.1, "importance sampling alone"


def test_bounds_of_the_share_hold_the_share(laws):
    tuned = 0.3 * np.roll(laws, 7, axis=1) + 0.7 * power(laws, 3.0)
    listed = np.nonzero(laws >= LEAST)
    given = (listed[0], np.log(laws[listed]))
    part = normaliser(given, drawn_from(laws, 50), entropies(laws), least=LEAST, problems=PROBLEMS)
    low, value, high = (divergences(*terms(tuned, laws), one) for one in (part.low, part.value, part.high))
    found = explained(value, Streams(0), low=low, high=high)
    truth = said(tuned, laws).share.value
    assert found.bounds[0] <= truth <= found.bounds[1]
    assert found.bounds[0] <= found.share.value <= found.bounds[1]
    assert found.share.low <= found.share.value <= found.share.high


def test_exponents_that_flatten_are_refused(laws):
    none = (np.zeros(0, dtype=int), np.zeros(0))
    with pytest.raises(UsageError, match="flattens"):
        normaliser(none, none, np.zeros(2), least=0.1, problems=2, exponents=(1.0, 0.5))


def test_where_all_answers_are_as_likely_nothing_has_to_be_listed():
    even = np.full((PROBLEMS, ANSWERS), 1 / ANSWERS)
    none = (np.zeros(0, dtype=int), np.zeros(0))
    found = normaliser(none, drawn_from(even, 3), entropies(even), least=1 / ANSWERS, problems=PROBLEMS)
    assert np.allclose(found.low, exact(even))
    assert np.allclose(found.value, exact(even))
    one = np.full((PROBLEMS, ANSWERS), 1e-9)
    one[:, 0] = 1 - 1e-9 * (ANSWERS - 1)
    parts = (divergences(*terms(one, even), part) for part in (found.low, found.value, found.high))
    low, value, high = parts
    assert explained(value, Streams(0), low=low, high=high).share.value == pytest.approx(0, abs=1e-6)
    none_left = low.copy()
    none_left[1:] = 0
    apart = explained(value, Streams(0), low=none_left, high=high)
    assert np.isnan(apart.share.value)
    assert apart.bounds == pytest.approx((0, 1)), "only the bounds are known"
