from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from keyturn.core.statistics.bands import sup_t_band
from keyturn.core.statistics.bootstrap import (
    bootstrap_mean,
    percentile_interval,
    ratio_interval,
    resample_weights,
    resampled_means,
    unseen_share,
)
from keyturn.core.statistics.entropies import chao_shen_entropy, miller_madow_entropy, plug_in_entropy
from keyturn.core.statistics.paired import paired_difference
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.core.streams import Streams

STREAMS = Streams(20260, ("test-bootstrap",))


def simulated_policy(generator, problems: int, draws: int):
    """Success probabilities of Beta(.15, .6) and their counts."""
    p = generator.beta(0.15, 0.6, size=problems)
    return p, generator.binomial(draws, p)


def mean_pass_at_k(k: int) -> float:
    a, b = 0.15, 0.6
    return 1 - math.exp(math.lgamma(b + k) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + k))


def resample_draws(c, draws: int, k: int, generator, resamples: int):
    """The broken twin: problems fixed, only their completions resampled."""
    again = generator.binomial(draws, c / draws, size=(resamples, len(c)))
    return pass_at_k(draws, again, k).mean(axis=1)


def test_resampling_problems_covers_and_resampling_draws_is_rejected():
    generator = STREAMS.generator("coverage")
    truth, k, draws, problems, trials = mean_pass_at_k(16), 16, 64, 60, 250
    over_problems = over_draws = 0
    for _ in range(trials):
        _, c = simulated_policy(generator, problems, draws)
        values = pass_at_k(draws, c, k)
        estimate = bootstrap_mean(values, generator, resamples=400)
        over_problems += estimate.low <= truth <= estimate.high
        low, high = np.quantile(resample_draws(c, draws, k, generator, 200), [0.025, 0.975])
        over_draws += low <= truth <= high
    assert stats.binomtest(over_problems, trials, 0.95).pvalue > 1e-3
    assert over_draws / trials < 0.6


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_a_mean_cover(method):
    generator = STREAMS.generator("mean", method)
    hits = 0
    for _ in range(300):
        estimate = bootstrap_mean(generator.normal(1.0, 2.0, size=30), generator, resamples=400, method=method)
        hits += estimate.low <= 1.0 <= estimate.high
    assert stats.binomtest(hits, 300, 0.945).pvalue > 1e-3


def test_bca_against_scipy():
    values = STREAMS.generator("skewed").exponential(size=40)
    ours = bootstrap_mean(values, STREAMS.generator("a"), resamples=20_000, method="bca")
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", random_state=STREAMS.generator("b")
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.02 * width)


def test_clusters_are_resampled_whole():
    generator = STREAMS.generator("clusters")
    clusters = np.repeat(np.arange(20), 10)
    weights = resample_weights(200, 50, generator, clusters)
    per_cluster = weights.reshape(50, 20, 10)
    assert (per_cluster == per_cluster[:, :, :1]).all()
    assert (weights.sum(axis=1) == 200).all()


def test_clustered_intervals_cover_where_independent_ones_do_not():
    generator = STREAMS.generator("cluster coverage")
    clustered = independent = 0
    labels = np.repeat(np.arange(25), 8)
    for _ in range(200):
        values = np.repeat(generator.normal(size=25), 8) + generator.normal(0, 0.3, size=200)
        one = bootstrap_mean(values, generator, resamples=400, clusters=labels)
        two = bootstrap_mean(values, generator, resamples=400)
        clustered += one.low <= 0 <= one.high
        independent += two.low <= 0 <= two.high
    assert clustered / 200 > 0.9
    assert independent / 200 < 0.7


def test_a_resample_is_a_weighted_mean():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    weights = np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert resampled_means(values, weights) == pytest.approx(np.array([[1, 10], [7 / 3, 70 / 3]]))


def test_nothing_known_is_nan_and_one_problem_has_no_interval():
    generator = STREAMS.generator("empty")
    assert math.isnan(bootstrap_mean([], generator).value)
    assert math.isnan(bootstrap_mean([np.nan], generator).value)
    alone = bootstrap_mean([0.5], generator)
    assert alone.value == 0.5
    assert math.isnan(alone.low)
    assert math.isnan(sup_t_band(np.empty((0, 3)), generator).value[0])


def test_unknown_method_and_wrong_clusters_are_refused():
    generator = STREAMS.generator("refused")
    with pytest.raises(ValueError, match="percentile or bca"):
        bootstrap_mean([1.0, 2.0], generator, method="normal")
    with pytest.raises(ValueError, match="cluster"):
        resample_weights(3, 2, generator, [0, 1])


def test_percentile_interval_is_widened_for_few_problems():
    replicates = np.linspace(-1, 1, 1001)[:, None]
    low, high = percentile_interval(replicates, [0.0], units=2)
    wide = math.sqrt(2) * 12.7062 / 1.95996
    assert [low[0], high[0]] == pytest.approx([-0.95 * wide, 0.95 * wide], rel=1e-3)


def test_a_ratio_without_a_positive_denominator_only_widens():
    numerator = np.ones(1000)
    denominator = np.full(1000, 2.0)
    low, high = ratio_interval(numerator, denominator, units=50)
    assert (low, high) == (0.5 - 0.5 * unseen_share(50), 0.5 + 0.5 * unseen_share(50))
    nearly = np.full(1000, 0.9999) + np.linspace(0, 1e-4, 1000)
    low, high = ratio_interval(nearly, np.ones(1000), units=50)
    assert low < 0.93, "one kind of problem in fifty may not have been seen"
    denominator[:50] = -1.0
    low, high = ratio_interval(numerator, denominator, units=50)
    assert low == -math.inf
    assert high == math.inf


def test_pairing_narrows():
    generator = STREAMS.generator("paired")
    difficulty = generator.uniform(size=60)
    first, second = difficulty, difficulty + generator.normal(0.02, 0.05, size=60)
    paired = paired_difference(first, second, generator)
    alone = bootstrap_mean(second, generator)
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_sup_t_bands_cover_the_whole_curve_and_pointwise_intervals_do_not():
    generator = STREAMS.generator("bands")
    shape = np.array([1, 4, 16, 64])
    truth = np.array([mean_pass_at_k(int(k)) for k in shape])
    # a curve whose points move almost independently makes the difference visible
    noise = np.eye(4) * 0.5
    together = pointwise = 0
    trials = 300
    for _ in range(trials):
        _, c = simulated_policy(generator, 60, 64)
        curves = pass_at_k(64, c[:, None], shape) + generator.normal(size=(60, 4)) @ noise
        band = sup_t_band(curves, generator, resamples=300)
        together += bool(((band.low <= truth) & (truth <= band.high)).all())
        low, high = np.quantile(band.replicates, [0.025, 0.975], axis=0)
        pointwise += bool(((low <= truth) & (truth <= high)).all())
    assert stats.binomtest(together, trials, 0.945).pvalue > 1e-3
    assert pointwise / trials < 0.9
    assert pointwise < together


def test_a_constant_point_has_no_width_and_does_not_drive_the_band():
    curves = np.stack([np.full(40, 1 / 3), STREAMS.generator("c").uniform(size=40)], axis=1)
    band = sup_t_band(curves, STREAMS.generator("band"))
    assert band.low[0] == band.high[0] == pytest.approx(1 / 3)
    assert 1.7 < band.critical < 2.3


def test_entropies_of_hand_made_counts():
    assert float(plug_in_entropy([2, 2])) == pytest.approx(math.log(2))
    assert float(miller_madow_entropy([2, 2])) == pytest.approx(math.log(2) + 1 / 8)
    assert float(plug_in_entropy([5, 0, 0])) == 0.0
    assert float(chao_shen_entropy([5, 0])) == 0.0
    assert float(chao_shen_entropy([1])) == 0.0
    # two seen twice, none once: coverage 1, so only the Horvitz-Thompson weights remain
    seen = 1 - 0.5**4
    assert float(chao_shen_entropy([2, 2])) == pytest.approx(math.log(2) / seen)
    assert np.isnan(plug_in_entropy(np.zeros((1, 3))))[0]
    assert np.isnan(chao_shen_entropy(np.zeros((1, 3))))[0]
    with pytest.raises(ValueError, match="negative"):
        plug_in_entropy([-1, 2])


def test_corrected_entropies_are_nearer_the_truth_than_the_plug_in():
    generator = STREAMS.generator("entropy")
    p = np.arange(1, 31) ** -1.0
    p /= p.sum()
    truth = -(p * np.log(p)).sum()
    counts = generator.multinomial(32, p, size=600)
    bias = {f.__name__: abs(f(counts).mean() - truth)
            for f in (plug_in_entropy, miller_madow_entropy, chao_shen_entropy)}  # fmt: skip
    assert bias["chao_shen_entropy"] < bias["miller_madow_entropy"] < bias["plug_in_entropy"] / 1.5


@pytest.mark.parametrize("units", [2, 12, 96])
def test_equal_values_are_no_certainty_and_limits_keep_their_range(units):
    replicates = np.full((100, 3), [1.0, 0.0, -0.25])
    low, high = percentile_interval(replicates, [1.0, 0.0, -0.25], units, bounds=(-1, 1))
    unseen = unseen_share(units)
    assert unseen == pytest.approx(1 - 0.025 ** (1 / units))
    assert low == pytest.approx([1 - 2 * unseen, -unseen, -0.25 - 0.75 * unseen])
    assert high == pytest.approx([1.0, unseen, -0.25 + 1.25 * unseen])
    spread = np.linspace(0.5, 1.0, 1001)[:, None]
    low, high = percentile_interval(spread, [0.9], units, bounds=(-1, 1))
    assert -1 <= low[0] < 0.9 < high[0] <= 1


def test_a_band_keeps_its_range_and_its_doubt():
    curves = np.stack([np.ones(30), np.linspace(0.7, 1.0, 30)], axis=1)
    band = sup_t_band(curves, STREAMS.generator("ranged"), resamples=200, bounds=(0.0, 1.0))
    assert band.high.max() <= 1
    assert band.low[0] == pytest.approx(1 - unseen_share(30))
    plain = sup_t_band(curves, STREAMS.generator("ranged"), resamples=200)
    assert (plain.low[0], plain.high[0]) == (1, 1)
