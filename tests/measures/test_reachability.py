"""Whether the base could have said it: certified bounds against enumeration, shares against their null."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_tables import Markov, completions_of, grades_of, shift_of, tables_of

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams
from keyturn.measures.certified import bound_of, certified_bound, row_logprobs
from keyturn.measures.reachability import REACHABILITY, ReachabilityConfig, base_view, below_own
from keyturn.rollouts.completions import Stop

PROBLEMS = 3


def drawn(model, per_problem, seed):
    """Completions of a model with duplicates, cut ones and invalid ones among them."""
    generator = np.random.default_rng(seed)
    pairs = [(p, *model.draw(p, generator)) for p in range(model.problems) for _ in range(per_problem)]
    problems, rows, stops = zip(*pairs, strict=True)
    completions = completions_of(rows, problems, size=model.problems, stop=stops)
    verified = np.array([model.valid(row) for row in rows])
    return completions, verified


def double_counting(completions, logprobs, verified):
    """The twin: every success counts, however often it was drawn."""
    rows = (np.asarray(verified) == 1) & (completions.stop == Stop.EOS)
    mass = np.exp(row_logprobs(completions, logprobs)) * rows
    return np.bincount(completions.problem, weights=mass, minlength=len(completions.prompts))


def counting_cut_ones(completions, logprobs, verified):
    """The twin: completions that were cut at the limit count as said."""
    whole = completions_of(
        [completions.row(r).tolist() for r in range(len(completions))],
        completions.problem.tolist(),
        size=len(completions.prompts),
    )
    return certified_bound(whole, logprobs, verified)


def assert_true_bound(of, model, completions, verified):
    exact = np.array([model.exact(p) for p in range(model.problems)])
    assert (of(completions, model.score(completions), verified) <= exact).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), per_problem=st.integers(1, 60))
def test_the_bound_never_exceeds_the_enumerated_probability(seed, per_problem):
    model = Markov(PROBLEMS, seed)
    completions, verified = drawn(Markov(PROBLEMS, seed + 1), per_problem, seed)
    assert_true_bound(certified_bound, model, completions, verified)


@pytest.mark.parametrize("twin", [double_counting, counting_cut_ones])
def test_a_bound_that_counts_too_much_is_caught(twin):
    model = Markov(PROBLEMS, 3)
    completions, verified = drawn(model, 300, 5)
    assert_true_bound(certified_bound, model, completions, verified)
    with pytest.raises(AssertionError):
        assert_true_bound(twin, model, completions, verified)


@pytest.mark.parametrize("seed", range(5))
def test_with_every_valid_completion_the_bound_is_the_probability(seed):
    model = Markov(PROBLEMS, seed)
    every = [(p, s) for p in range(PROBLEMS) for s in model.everything() if model.valid(s)]
    # Twice each: duplicates must not count.
    problems, rows = zip(*(every + every), strict=True)
    completions = completions_of(rows, problems)
    bound = certified_bound(completions, model.score(completions), np.ones(len(rows)))
    exact = np.array([model.exact(p) for p in range(PROBLEMS)])
    assert (bound <= exact).all()
    np.testing.assert_allclose(bound, exact, rtol=2e-6)


def test_only_whole_verified_completions_of_allowed_length_count():
    rows = [[1, 0], [1, 1], [2, 0], [3, 0], [1, 2, 3, 0], [1, 0]]
    completions = completions_of(
        rows, [0, 0, 0, 0, 0, 1], size=3, stop=[Stop.EOS, Stop.LENGTH, Stop.EOS, Stop.EOS, Stop.EOS, Stop.EOS]
    )
    logprobs = np.full(len(completions.tokens), math.log(0.5))
    verified = np.array([1.0, 1.0, 0.0, np.nan, 1.0, 1.0])
    np.testing.assert_allclose(certified_bound(completions, logprobs, verified), [0.25 + 0.0625, 0.25, 0.0])
    short = certified_bound(completions, logprobs, verified, max_new_tokens=3)
    np.testing.assert_allclose(short, [0.25, 0.25, 0.0])


def test_the_end_token_belongs_to_the_completion():
    # The same words, ended and not ended: two different events with their own probabilities.
    completions = completions_of([[1, 0], [1]], [0, 0])
    bound = certified_bound(completions, np.log([0.5, 0.5, 0.5]), np.ones(2))
    np.testing.assert_allclose(bound, [0.25 + 0.5])


def test_tiny_probabilities_add_up_without_a_nan():
    rows = [[1] * n + [0] for n in (3, 4, 5)]
    completions = completions_of(rows, [0, 0, 1])
    low = np.concatenate([np.full(4, -90.0), np.full(5, -72.0), np.full(6, -1000.0)])
    bound = certified_bound(completions, low, np.ones(3))
    np.testing.assert_allclose(bound[0], 2 * math.exp(-360.0), rtol=1e-12)
    assert bound[1] == 0.0
    impossible = np.where(np.arange(15) == 2, -np.inf, -0.5)
    bound = certified_bound(completions, impossible, np.ones(3))
    np.testing.assert_allclose(bound, [math.exp(-2.5), math.exp(-3.0)])


def test_a_log_probability_above_zero_is_refused():
    with pytest.raises(InputError, match="above 0"):
        certified_bound(completions_of([[1, 0]], [0]), np.array([0.1, -1.0]), np.ones(1))


def test_a_union_of_sources_counts_each_completion_once():
    first = completions_of([[1, 0], [2, 0]], [0, 1])
    second = completions_of([[1, 0], [3, 0]], [0, 0], size=2)
    half = {"base_logprobs": np.full(4, math.log(0.5))}
    shifts = [
        shift_of("tuned", first, grades_of([1, 1]), **half),
        shift_of("base", second, grades_of([1, 1]), **half),
        shift_of("other", second, None, **half),
    ]
    np.testing.assert_allclose(bound_of(shifts), [0.5, 0.25], rtol=1e-6)
    assert bound_of(shifts[2:]) is None


def view_of(lengths, logprobs, problems, drawn_by="base", success=None):
    """A table whose completions have the given lengths and whole log-probabilities."""
    completions = completions_of([[1] * (n - 1) + [0] for n in lengths], problems)
    tokens = np.concatenate([np.full(n, x / n) for n, x in zip(lengths, logprobs, strict=True)])
    grades = None if success is None else grades_of(success)
    return shift_of(drawn_by, completions, grades, base_logprobs=tokens)


def same_law(generator, rows, problems, long_share):
    """Log-probabilities that depend on length: what any policy's own completions look like."""
    lengths = np.where(generator.random(rows) < long_share, 40, 8)
    return view_of(lengths, -lengths + np.sqrt(lengths) * generator.standard_normal(rows), problems)


def share_below(tuned, base, config, line=below_own):
    return np.nanmean(line(base_view(tuned, config), base_view(base, config), config))


def unmatched(view, own, config):
    """The twin: one line for completions of every length."""
    return view.logprob < np.quantile(own.logprob, config.percentile)


@pytest.mark.parametrize("rows", [30, 60])
def test_few_own_completions_do_not_move_the_line(rows):
    config = ReachabilityConfig()

    def share(line):
        shares = []
        for seed in range(80):
            generator = np.random.default_rng(seed)
            base = same_law(generator, rows, list(range(rows)), long_share=0.0)
            shares.append(share_below(base, base, config, line))
        return np.mean(shares)

    def interpolated(view, own, config):
        """The twin: the usual sample quantile, which lies too far inside a small sample."""
        others = [np.delete(own.logprob, row) for row in range(len(own.logprob))]
        lines = np.array([np.quantile(x, config.percentile) for x in others])
        return view.logprob < lines

    assert share(below_own) == pytest.approx(0.05, abs=0.01)
    assert share(interpolated) > 0.06


def test_the_line_is_drawn_at_matched_length():
    config, generator = ReachabilityConfig(), np.random.default_rng(0)
    problems = np.repeat(np.arange(100), 10).tolist()
    base = same_law(generator, 1000, problems, long_share=0.1)
    tuned = same_law(generator, 1000, problems, long_share=1.0)
    assert share_below(tuned, base, config) == pytest.approx(0.05, abs=0.04)
    # Longer completions of the same law are not out of reach; without matching they seem to be.
    assert share_below(tuned, base, config, unmatched) > 0.3


def test_the_bases_own_completions_lie_below_with_the_stated_share():
    config, generator = ReachabilityConfig(), np.random.default_rng(1)
    problems = np.repeat(np.arange(100), 10).tolist()
    base = same_law(generator, 1000, problems, long_share=0.5)
    assert share_below(base, base, config) == pytest.approx(0.05, abs=0.015)


def test_a_row_of_measurements_by_hand():
    completions = completions_of([[1, 2, 0], [1, 0], [2, 0]], [0, 1, 1], stop=[Stop.EOS, Stop.EOS, Stop.LENGTH])
    tuned = shift_of(
        "tuned",
        completions,
        grades_of([1, 0, 1]),
        base_logprobs=[-1.0, -5.0, -2.0, -3.0, -1.0, -9.0, -9.0],
        base_ranks=[0, 11, 10, 50, 20, 99, 99],
    )
    found = REACHABILITY.measure(tables_of(Streams(0), shift={"tuned": tuned}), ReachabilityConfig())
    row = {(m.name, m.parameters["rows"]): m for m in found}
    assert row["reach_logprob", "all"].value == pytest.approx((-8 - 4) / 2)
    assert row["reach_worst", "all"].value == pytest.approx((5 + 3) / 2)
    assert row["reach_rank", "all"].value == pytest.approx((1 + 2) / 2)
    assert row["reach_samples", "all"].value == pytest.approx(math.exp(8))
    assert row["reach_logprob", "verified"].value == pytest.approx(-8)
    assert row["reach_logprob", "verified"].n == 1
    assert math.isnan(row["reach_below", "all"].value)
    assert row["reach_below", "all"].n == 0
    assert row["reach_bound", "verified"].value == pytest.approx(math.exp(-8) / 2, rel=1e-5)
    assert row["reach_bound", "verified"].n == 2


def test_out_of_reach_and_sharpened_are_told_apart():
    generator = np.random.default_rng(2)
    problems = np.repeat(np.arange(30), 8).tolist()
    base = same_law(generator, 240, problems, long_share=0.5)
    lengths = base.completions.lengths
    found = {}
    for name, each in (("strange", -2.5), ("sharpened", -0.2)):
        tuned = view_of(lengths, each * lengths, problems, "tuned", np.ones(240))
        tables = tables_of(Streams(0), shift={"base": base, "tuned": tuned})
        rows = REACHABILITY.measure(tables, ReachabilityConfig())
        found[name] = {(m.name, m.parameters["rows"]): m for m in rows}
    strange, sharp = (found[name]["reach_below", "all"] for name in ("strange", "sharpened"))
    assert strange.value > 0.95
    assert strange.null.value < 0.1
    assert sharp.value == 0.0
    worst = found["strange"]["reach_worst", "all"]
    assert worst.low <= worst.value <= worst.high
    assert found["strange"]["reach_samples", "all"].value > found["sharpened"]["reach_samples", "all"].value


def test_more_draws_than_a_double_can_hold_are_infinite():
    tuned = view_of([10, 10], [-2000.0, -2000.0], [0, 1], "tuned")
    rows = REACHABILITY.measure(tables_of(Streams(0), shift={"tuned": tuned}), ReachabilityConfig())
    samples = next(m for m in rows if m.name == "reach_samples")
    assert samples.value == math.inf
    assert samples.to_json()["value"] == "inf"


def test_a_bound_that_the_study_computed_takes_precedence():
    tuned = view_of([2, 2], [-1.0, -1.0], [0, 1], "tuned", [1, 1])
    tables = tables_of(Streams(0), 2, known={"bound": np.array([0.5, 0.7])}, shift={"tuned": tuned})
    bound = next(m for m in REACHABILITY.measure(tables, ReachabilityConfig()) if m.name == "reach_bound")
    assert bound.value == pytest.approx(0.6)


def test_without_tuned_completions_nothing_is_said():
    assert REACHABILITY.measure(tables_of(Streams(0)), ReachabilityConfig()) == ()
