"""One statement over all budgets: made counts with a known crossing, and an independent program on the same
counts."""

from __future__ import annotations

import numpy as np
import pytest

from keyturn.core.statistics.bands import sup_t_band
from keyturn.core.streams import Streams
from keyturn.measures.coverage_statement import compare_pass_at_k, state_coverage
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import plain_draws
from keyturn.measures.paired import PairedCounts

STREAMS = Streams(20_261_129, ("coverage statement",))


def crossing_counts(problems=1000, draws=128):
    """Odds three times as high where the base is at p > .1, and half where p < .02."""
    generator = STREAMS.generator("counts")
    p = generator.beta(0.25, 0.3, problems)
    odds = p / np.maximum(1 - p, 1e-12)
    odds = np.where(p > 0.1, 3 * odds, np.where(p < 0.02, odds / 2, odds))
    n = np.full(problems, draws)
    return plain_draws(n, generator.binomial(draws, p)), plain_draws(
        n, generator.binomial(draws, odds / (1 + odds))
    )


def test_the_label_and_its_report_say_one_thing_about_the_curve():
    base, tuned = crossing_counts()
    found = judge(PairedCounts(base=base, tuned=tuned), streams=STREAMS, k=64, resamples=500)
    assert found.label == "deployed"
    assert found.coverage.k_max == 128
    assert found.coverage.label == "crossing"
    assert found.coverage.above[0][0] == 1
    assert found.coverage.below[-1][1] == 128
    assert found.coverage.sentence in found.why, "a loss at large k stands in the first line"


def test_the_regions_are_those_of_passk_inference():
    core = pytest.importorskip("passk_inference.core")
    base, tuned = crossing_counts()
    theirs = core.compare(base.c, base.n, tuned.c, tuned.n)
    ks, band = compare_pass_at_k(base, tuned, STREAMS, kind="answer", resamples=4000)
    ours = state_coverage(ks, band, problems=1000)
    assert list(ks) == theirs["ks"]
    assert band.value == pytest.approx(np.array(theirs["mean"]), abs=1e-12)
    assert band.low == pytest.approx(np.array(theirs["lower"]), abs=0.002)
    assert band.high == pytest.approx(np.array(theirs["upper"]), abs=0.002)
    gained, lost = theirs["certified_positive_budgets"], theirs["certified_negative_budgets"]
    assert gained
    assert lost
    assert ours.above[0] == pytest.approx((gained[0], gained[-1]), abs=2)
    assert ours.below[-1] == pytest.approx((lost[0], lost[-1]), abs=4)
    assert ours.first_loss == pytest.approx(theirs["first_loss_interval"], abs=4)


def audits_of(problems: int, odds: float):
    """200 audits whose tuned policy multiplies the base's odds: our band, and one without the least error."""
    ks = np.arange(1, 65)
    for audit in range(200):
        generator = STREAMS.generator("replicate", problems, str(odds), audit)
        p = generator.beta(0.4, 0.6, problems)
        n = np.full(problems, 64)
        base = plain_draws(n, generator.binomial(64, p))
        tuned = plain_draws(n, generator.binomial(64, odds * p / (1 - p + odds * p)))
        _, band = compare_pass_at_k(base, tuned, STREAMS.child(audit), kind="answer", resamples=400)
        difference = tuned.curve(ks)[0] - base.curve(ks)[0]
        draws = STREAMS.child(audit).generator("pass@k difference", "answer")
        yield band, sup_t_band(difference, draws, resamples=400, bounds=(-1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("problems", [24, 96])
def test_the_statement_errs_in_at_most_one_audit_of_twenty(problems):
    """Base against itself: the band leaves out the truth (0 everywhere) in 5 % at most. It errs less often,
    since it is at least as wide as a bound of the draws' noise."""
    wrong = sum(bool(((band.low > 0) | (band.high < 0)).any()) for band, _ in audits_of(problems, 1.0))
    assert wrong / 200 <= 0.085


@pytest.mark.slow
@pytest.mark.parametrize(("problems", "odds"), [(24, 1.4), (96, 1.16)])
def test_the_least_width_costs_little_power(problems, odds):
    """A band that never errs since it is too wide would say nothing where the tuned policy is better."""
    both = np.array([[(band.low > 0).any() for band in pair] for pair in audits_of(problems, odds)])
    ours, plain = both.mean(axis=0)
    assert 0.4 < plain < 0.95, "the effect is such that power can be lost"
    assert ours > 0.75 * plain
