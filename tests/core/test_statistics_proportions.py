from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from keyturn.core.statistics.mcnemar import mcnemar_exact
from keyturn.core.statistics.pass_at_k import (
    pass_at_each_k,
    pass_at_k,
    pass_at_k_noise,
    posterior_pass_at_k,
    powers_of_two,
)
from keyturn.core.statistics.proportions import difference_of_shares, jeffreys, probability_below, wilson
from keyturn.core.statistics.two_stage import pass_at_k_after_going_on, rate_after_going_on
from keyturn.core.streams import Streams

COUNTS = st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def exact_pass_at_k(n: int, c: int, k: int) -> Fraction:
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


def plug_in_pass_at_k(n, c, k):
    """The broken twin: biased low."""
    return 1 - (1 - np.asarray(c) / np.asarray(n)) ** k


def bias_against_truth(estimator, n: int, p: float, k: int) -> float:
    """Exact expectation of an estimator over the binomial, minus the truth."""
    c = np.arange(n + 1)
    return float(stats.binom.pmf(c, n, p) @ estimator(np.full(n + 1, n), c, k) - (1 - (1 - p) ** k))


@given(COUNTS, st.integers(1, 200))
def test_pass_at_k_equals_the_combinatorial_definition(counts, k):
    n, c = counts
    k = min(k, n)
    assert float(pass_at_k(n, c, k)) == pytest.approx(float(exact_pass_at_k(n, c, k)), abs=1e-10)


@pytest.mark.parametrize(("n", "p", "k"), [(64, 0.01, 32), (16, 0.1, 8), (256, 0.004, 64)])
def test_pass_at_k_is_unbiased_and_the_plug_in_is_rejected(n, p, k):
    assert bias_against_truth(pass_at_k, n, p, k) == pytest.approx(0, abs=1e-10)
    assert bias_against_truth(plug_in_pass_at_k, n, p, k) < -0.01


def test_pass_at_k_published_figures():
    # p = .01, n = 64, k = 32: truth .275, plug-in .224
    c = np.arange(65)
    pmf = stats.binom.pmf(c, 64, 0.01)
    assert pmf @ pass_at_k(64, c, 32) == pytest.approx(0.275, abs=1e-3)
    assert pmf @ plug_in_pass_at_k(64, c, 32) == pytest.approx(0.224, abs=1e-3)


def test_pass_at_k_of_many_draws_does_not_overflow():
    assert 0 < float(pass_at_k(1_000_000, 1, 10)) == pytest.approx(1e-5, rel=1e-4)
    assert float(pass_at_k(100_000, 0, 100_000)) == 0.0


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_refuses_what_the_draws_do_not_say(n, c, k):
    with pytest.raises(ValueError, match=r"k|count"):
        pass_at_k(n, c, k)


def test_posterior_pass_at_k_is_the_beta_integral():
    for n, c, k in [(32, 8, 64), (32, 0, 256), (1, 1, 8)]:
        want = 1 - stats.beta(c + 0.5, n - c + 0.5).expect(lambda p, k=k: (1 - p) ** k)
        assert float(posterior_pass_at_k(n, c, k)) == pytest.approx(want, abs=1e-6)
    assert math.isnan(float(posterior_pass_at_k(0, 0, 4)))


def test_powers_of_two_end_at_the_limit():
    assert powers_of_two(64) == (1, 2, 4, 8, 16, 32, 64)
    assert powers_of_two(85) == (1, 2, 4, 8, 16, 32, 64, 85)
    assert powers_of_two(0) == ()


def two_stage_outcomes(p: float, n1: int, n2: int, enough: int):
    """Every outcome of the two-stage rule with its probability: (c1, c2, probability)."""
    first = stats.binom.pmf(np.arange(n1 + 1), n1, p)
    late = stats.binom.pmf(np.arange(n2 + 1), n2, p)
    for c1 in range(n1 + 1):
        if c1 >= enough:
            yield c1, None, first[c1]
        else:
            for c2 in range(n2 + 1):
                yield c1, c2, first[c1] * late[c2]


@pytest.mark.parametrize("p", [0.02, 0.1, 0.25, 0.4])
def test_two_stage_estimates_are_unbiased_and_pooling_is_rejected(p):
    n1, n2, enough, k = 16, 48, 4, 4
    rate = passed = pooled = 0.0
    for c1, c2, weight in two_stage_outcomes(p, n1, n2, enough):
        if c2 is None:
            rate += weight * c1 / n1
            passed += weight * float(pass_at_k(n1, c1, k))
            pooled += weight * c1 / n1
        else:
            counts = (np.array([n1]), np.array([n1 + n2]), np.array([c1 + c2]), enough)
            rate += weight * rate_after_going_on(*counts)[0]
            passed += weight * pass_at_k_after_going_on(*counts, k)[0]
            pooled += weight * (c1 + c2) / (n1 + n2)
    assert rate == pytest.approx(p, abs=1e-10)
    assert passed == pytest.approx(1 - (1 - p) ** k, abs=1e-10)
    if p == 0.25:
        assert pooled > p + 0.02


def test_far_from_the_rule_two_stages_are_plain_draws():
    counts = (np.array([32]), np.array([256]), np.array([3]), 8)
    assert rate_after_going_on(*counts)[0] == pytest.approx(3 / 256, abs=1e-12)
    assert pass_at_k_after_going_on(*counts, 16)[0] == pytest.approx(float(pass_at_k(256, 3, 16)), abs=1e-12)


def test_counts_that_cannot_have_gone_on_are_refused():
    with pytest.raises(ValueError, match="two-stage rule"):
        rate_after_going_on(np.array([32]), np.array([40]), np.array([39]), 8)


@given(COUNTS)
def test_wilson_against_statsmodels(counts):
    n, c = counts
    assert [float(x) for x in wilson(c, n)] == pytest.approx(
        proportion_confint(c, n, method="wilson"), abs=1e-9
    )


def test_wilson_covers():
    n = 40
    c = np.arange(n + 1)
    low, high = wilson(c, np.full(n + 1, n))
    grid = np.linspace(0.02, 0.98, 97)
    covered = [stats.binom.pmf(c, n, p) @ ((low <= p) & (p <= high)) for p in grid]
    assert 0.945 < np.mean(covered) < 0.965
    # the twin: a Wald interval falls far below
    share = c / n
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    wald = [stats.binom.pmf(c, n, p) @ (np.abs(share - p) <= half) for p in grid]
    assert np.mean(wald) < 0.93


def test_no_draws_know_nothing():
    assert all(math.isnan(float(end)) for end in wilson(0, 0))


def test_zero_of_128_draws_is_unreachable_at_64_and_zero_of_96_is_not():
    # what the rule "K is lowered to N / 3" rests on: 2K draws without success decide, 1.5K do not
    assert float(probability_below(0, 128, 1 / 64)) > 0.95
    assert float(probability_below(0, 96, 1 / 64)) < 0.95


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_against_its_formula_and_statsmodels(b, c):
    p = mcnemar_exact(b, c)
    if b + c:
        assert p == pytest.approx(min(1.0, 2 * stats.binom.cdf(min(b, c), b + c, 0.5)), rel=1e-12)
        assert p == pytest.approx(mcnemar([[5, b], [c, 7]], exact=True).pvalue, abs=1e-12)
    else:
        assert p == 1.0


def test_mcnemar_published_figures():
    # Yue et al. 2025: 4 vs 0 of 30 gives .125; 18 vs 5 gives .011
    assert mcnemar_exact(4, 0) == pytest.approx(0.125)
    assert mcnemar_exact(18, 5) == pytest.approx(0.0106, abs=1e-3)
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


@pytest.mark.parametrize(("low", "high"), [(0.03, 0.3), (0.3, 0.9), (0.0, 0.05)])
def test_the_noise_of_pass_at_k_bounds_what_frequent_success_has(low, high):
    generator = np.random.default_rng(7)
    p = generator.uniform(low, high, 20_000)
    n = np.full(len(p), 64)
    c = generator.binomial(64, p)
    for k in (1, 8, 64):
        error = np.mean((pass_at_k(n, c, k) - (1 - (1 - p) ** k)) ** 2)
        noise = pass_at_k_noise(n, c, k).mean()
        assert noise < 3 * error + 0.005, "not so wide that nothing is ever sure"
        if low >= 0.03:
            assert noise > 0.9 * error
    assert pass_at_k_noise(64, 0, 8) == 0
    assert pass_at_k_noise(0, 0, 8) == 0


@given(
    st.lists(
        st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=8
    )
)
def test_all_budgets_at_once_are_each_budget_alone(rows):
    n, c = (np.array(column) for column in zip(*rows, strict=True))
    ks = (1, 2, 7, 31, 60)
    found = pass_at_each_k(n, c, ks)
    for column, k in enumerate(ks):
        own = n >= k
        assert found[own, column] == pytest.approx(pass_at_k(n[own], c[own], k), abs=1e-12)
        assert np.isnan(found[~own, column]).all()


@pytest.mark.parametrize(("share", "n"), [(0.0, 69), (1.0, 28), (0.5, 10), (0.15, 28), (1 / 3, 3)])
def test_the_jeffreys_interval_is_the_quantiles_of_its_posterior(share, n):
    low, high = jeffreys(share, n)
    assert 0 <= low <= share <= high <= 1
    assert high > low
    posterior = stats.beta(share * n + 0.5, (1 - share) * n + 0.5)
    assert low == (0 if share == 0 else pytest.approx(posterior.ppf(0.025)))
    assert high == (1 if share == 1 else pytest.approx(posterior.ppf(0.975)))


@pytest.mark.parametrize(("share", "n"), [(-0.1, 5), (1.1, 5), (0.5, 0), (math.nan, 5)])
def test_what_is_no_share_has_no_interval(share, n):
    assert all(math.isnan(end) for end in jeffreys(share, n))
    assert all(math.isnan(end) for end in difference_of_shares(0.5, share, n))


def test_a_difference_of_shares_covers_and_is_the_other_way_round_with_its_sign_changed():
    low, high = difference_of_shares(0.7, 0.4, 50)
    assert difference_of_shares(0.4, 0.7, 50) == (pytest.approx(-high), pytest.approx(-low))
    generator = Streams(5).generator("difference")
    one, other = generator.binomial(50, 0.9, 800) / 50, generator.binomial(50, 0.75, 800) / 50
    ends = [difference_of_shares(float(a), float(b), 50) for a, b in zip(one, other, strict=True)]
    assert np.mean([low <= 0.15 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.025)
