from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keyturn.core.streams import Streams
from keyturn.measures.classes import class_agreement, classify, exact_classes
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import Draws, plain_draws
from keyturn.measures.masses import divide_gain, gross_masses
from keyturn.measures.paired import PairedCounts
from keyturn.measures.truths import two_stage_draws
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED, UNREACHABLE

STREAMS = Streams(11, ("test-masses",))


def two_stage(generator, p) -> Draws:
    return two_stage_draws(generator, p, 256)


counts = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(counts, st.integers(0, 2**32), st.booleans())
def test_the_three_masses_sum_to_the_gain_exactly(rows, root, guessed):
    n, m, a, b = (np.array(column) for column in zip(*rows, strict=True))
    base, tuned = plain_draws(n, np.rint(n * a)), plain_draws(m, np.rint(m * b))
    guess = np.full(len(n), 0.2) if guessed else None
    masses = divide_gain(base, tuned, (2, 4, 16), Streams(root).generator("cut"), chance=guess)
    whole = masses.deployed + masses.created + masses.undecided + masses.at_chance
    assert whole == pytest.approx(np.repeat(masses.gain[:, None], 3, axis=1), abs=1e-12)
    assert masses.gross_gain - masses.gross_loss == pytest.approx(masses.gain, abs=1e-12)
    assert masses.base == pytest.approx(base.c / base.n)
    assert masses.membership.sum(axis=0) == pytest.approx(np.ones((len(n), 3)))


def test_masses_sum_to_the_gain_with_two_stages_too():
    generator = STREAMS.generator("staged")
    base = two_stage(generator, generator.uniform(0, 0.5, 200))
    tuned = plain_draws(np.full(200, 64), generator.binomial(64, 0.3, 200))
    masses = divide_gain(base, tuned, (64,), generator)
    whole = (masses.deployed + masses.created + masses.undecided)[:, 0]
    assert whole == pytest.approx(masses.gain, abs=1e-12)
    assert masses.base == pytest.approx(base.rate)


def same_draws(base: Draws, tuned: Draws, k: int) -> dict[str, float]:
    """The broken twin: classify and estimate on the very same draws."""
    classes = classify(base.c, base.n, (k,))[:, 0]
    gain = tuned.c / tuned.n - base.c / base.n
    names = {"deployed": REACHABLE, "created": UNREACHABLE, "undecided": UNDECIDED}
    return {name: float(np.where(classes == which, gain, 0).mean()) for name, which in names.items()}


def test_nothing_changed_gives_no_mass_and_judging_on_the_same_draws_is_rejected():
    # p near 1 / K: what is called reachable by luck regresses, what is called unreachable by bad luck "gains"
    generator = STREAMS.generator("regression to the mean")
    k, problems, audits = 16, 400, 60
    ours, twin = [], []
    for _ in range(audits):
        p = generator.uniform(0.01, 0.12, problems)
        base = plain_draws(np.full(problems, 4 * k), generator.binomial(4 * k, p))
        tuned = plain_draws(np.full(problems, k), generator.binomial(k, p))
        masses = divide_gain(base, tuned, (k,), generator)
        ours.append([masses.deployed.mean(), masses.created.mean(), masses.undecided.mean()])
        broken = same_draws(base, tuned, k)
        twin.append([broken["deployed"], broken["created"], broken["undecided"]])
    for values, unbiased in ((np.array(ours), True), (np.array(twin), False)):
        t = np.abs(values.mean(axis=0) / (values.std(axis=0, ddof=1) / np.sqrt(audits)))
        assert (t[:2] < 3.5).all() if unbiased else (t[:2] > 6).all()


def test_two_stage_masses_are_unbiased_where_pooling_the_draws_is_not():
    generator = STREAMS.generator("optional stopping")
    p = np.full(4000, 0.25)
    base = two_stage(generator, p)
    tuned = plain_draws(np.full(4000, 64), generator.binomial(64, p))
    masses = divide_gain(base, tuned, (64,), generator, splits=2)
    assert abs(masses.gain.mean()) < 0.008
    assert (tuned.c / tuned.n - base.c / base.n).mean() < -0.02


def test_gross_gain_and_loss_are_not_made_of_noise():
    generator = STREAMS.generator("gross")
    p = generator.uniform(0.2, 0.8, 2000)
    base = plain_draws(np.full(2000, 64), generator.binomial(64, p))
    still = divide_gain(base, plain_draws(np.full(2000, 64), generator.binomial(64, p)), (8,), generator)
    naive = np.maximum(still.gain, 0).mean()
    assert naive > 0.025
    assert abs(still.gross_gain.mean()) < 0.006
    q = np.where(np.arange(2000) % 2 == 0, p + 0.2, p - 0.2)
    moved = divide_gain(base, plain_draws(np.full(2000, 64), generator.binomial(64, q)), (8,), generator)
    assert moved.gross_gain.mean() == pytest.approx(0.1, abs=0.01)
    assert moved.gross_loss.mean() == pytest.approx(0.1, abs=0.01)


def test_gross_masses_are_never_below_zero_and_keep_their_difference():
    gain = np.array([0.2, -0.2, 0.0])
    gross_gain, gross_loss = gross_masses(gain, np.array([-0.01, 0.1, 0.05]))
    assert gross_gain == pytest.approx([0.2, 0.0, 0.05])
    assert gross_loss == pytest.approx([0.0, 0.2, 0.05])


def test_classes_follow_the_posterior():
    n = np.array([128, 96, 11, 10, 0, 128])
    c = np.array([0, 0, 1, 1, 0, 2])
    classes = classify(c, n, (64,))[:, 0]
    assert classes.tolist() == [UNREACHABLE, UNDECIDED, REACHABLE, REACHABLE, UNDECIDED, UNDECIDED]
    for count, draws, name in zip(c, n, classes, strict=True):
        below = stats.beta.cdf(1 / 64, count + 0.5, draws - count + 0.5)
        want = UNREACHABLE if below >= 0.95 else REACHABLE if below <= 0.05 else UNDECIDED
        assert name == want


def test_guessing_raises_the_bar_and_a_certified_bound_passes_it():
    c, n = np.array([30, 68, 0]), np.array([128, 128, 128])
    guess = np.array([0.2, 0.2, np.nan])
    assert classify(c, n, (64,))[:, 0].tolist() == [REACHABLE, REACHABLE, UNREACHABLE]
    assert classify(c, n, (64,), chance=guess)[:, 0].tolist() == [AT_CHANCE, REACHABLE, UNREACHABLE]
    bound = np.array([0.3, np.nan, 0.02])
    assert classify(c, n, (64,), chance=guess, bound=bound)[:, 0].tolist() == [AT_CHANCE, REACHABLE, REACHABLE]


def test_exact_classes_and_agreement():
    exact = np.array([0.5, 0.001, np.nan, 1 / 64])
    assert exact_classes(exact, 64).tolist() == [REACHABLE, UNREACHABLE, UNDECIDED, UNDECIDED]
    called = np.array([REACHABLE, REACHABLE, REACHABLE, UNDECIDED], dtype=np.int8)
    assert class_agreement(called, exact, 64) == (1, 2)


@pytest.mark.slow
def test_intervals_of_the_masses_cover():
    # a new sample of problems each time; classes are sure, so the true masses are known: .4 / 3 and .25 / 3
    truth = {"gain": 0.65 / 3, "created": 0.4 / 3, "deployed": 0.25 / 3}
    audits, hits = 300, dict.fromkeys(("gain", "created", "deployed"), 0)
    for audit in range(audits):
        streams = STREAMS.child("coverage", audit)
        generator = streams.generator("world")
        third = generator.integers(3, size=90)
        p = np.select([third == 0, third == 1], [generator.uniform(0.3, 0.9, 90), 0.2], 0.0)
        q = np.select(
            [third == 1, third == 2], [generator.uniform(0.35, 0.55, 90), generator.beta(2, 3, 90)], p
        )
        tuned = plain_draws(np.full(90, 64), generator.binomial(64, q))
        verdict = judge(PairedCounts(base=two_stage(generator, p), tuned=tuned), streams=streams, resamples=500)
        for name, true in truth.items():
            hits[name] += verdict.masses[name].low <= true <= verdict.masses[name].high
    for name, count in hits.items():
        assert stats.binomtest(count, audits, 0.95).pvalue > 1e-3, (name, count)
