from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.bands import Band
from keyturn.measures.coverage_statement import budgets, first_loss, state_coverage
from keyturn.measures.draws import plain_draws
from keyturn.measures.labels import LEAST_PROBLEMS, label_of, nothing_measured
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import Coverage

NOTHING = Estimate(math.nan)


def share(low: float) -> Estimate:
    return Estimate(low + 0.1, low, low + 0.2)


@pytest.mark.parametrize(
    ("gain", "deployed", "created", "coverage", "label"),
    [
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "kept", "no change"),
        (Estimate(0.015, 0.001, 0.029), share(0.9), share(-0.1), "kept", "no change"),
        (Estimate(-0.015, -0.029, -0.001), NOTHING, NOTHING, "kept", "no change"),
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "undecided", "undecided"),
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(-0.1, -0.2, -0.05), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(-0.1, -0.2, -0.05), NOTHING, NOTHING, "kept", "worse"),
        (Estimate(-0.3, -0.32, -0.28), NOTHING, NOTHING, "undecided", "worse"),
        (Estimate(0.01, -0.02, 0.04), NOTHING, NOTHING, "kept", "undecided"),
        (Estimate(0.01, -0.02, 0.04), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(0.2, 0.1, 0.3), share(0.3), share(0.3), "expanded", "mixed"),
        (Estimate(0.2, 0.1, 0.3), share(0.2), share(0.55), "expanded", "mixed"),
        (Estimate(0.2, 0.1, 0.3), share(0.1), share(0.55), "expanded", "created"),
        (Estimate(0.2, 0.1, 0.3), share(0.55), share(0.1), "kept", "deployed"),
        (Estimate(0.2, 0.1, 0.3), share(0.55), share(0.1), "narrowed", "deployed"),
        (Estimate(0.2, 0.1, 0.3), share(0.55), share(0.1), "crossing", "deployed"),
        (Estimate(0.2, 0.1, 0.3), share(0.45), share(0.1), "kept", "undecided"),
        (Estimate(0.2, 0.1, 0.3), share(-math.inf), share(-math.inf), "kept", "undecided"),
        (Estimate(0.2), NOTHING, NOTHING, "undecided", "undecided"),
        (Estimate(math.nan), NOTHING, NOTHING, "undecided", "undecided"),
    ],
)
def test_the_first_rule_that_holds(gain, deployed, created, coverage, label):
    assert label_of(gain, deployed, created, coverage, problems=100) == label
    assert label_of(gain, deployed, created, coverage, problems=LEAST_PROBLEMS - 1) == "undecided"


def band(value, half) -> Band:
    value, half = np.asarray(value, float), np.asarray(half, float)
    return Band(value=value, low=value - half, high=value + half, critical=3.0, replicates=np.empty((0, 4)))


@pytest.mark.parametrize(
    ("value", "half", "label", "above", "below", "loss"),
    [
        ([0, 0, 0, 0], [0.02] * 4, "kept", (), (), (1, None)),
        ([0, 0, 0, 0], [0.2] * 4, "undecided", (), (), (1, None)),
        ([0.2, 0.2, 0.1, 0.1], [0.05] * 4, "expanded", ((1, 4),), (), None),
        ([0.2, 0.1, 0.0, 0.0], [0.05] * 4, "expanded", ((1, 2),), (), (3, None)),
        ([0.2, 0.0, 0.0, 0.0], [0.05] * 4, "kept", ((1, 1),), (), (2, None)),
        ([0.2, 0.0, -0.1, -0.2], [0.05] * 4, "crossing", ((1, 1),), ((3, 4),), (2, 3)),
        ([0.0, 0.0, -0.1, -0.2], [0.05] * 4, "narrowed", (), ((3, 4),), (1, 3)),
        ([-0.3, 0.0, 0.0, 0.0], [0.05] * 4, "kept", (), ((1, 1),), (1, 1)),
    ],
)
def test_one_statement_over_all_budgets(value, half, label, above, below, loss):
    said = state_coverage((1, 2, 3, 4), band(value, half), problems=100)
    assert (said.label, said.above, said.below, said.first_loss) == (label, above, below, loss)
    assert said.k_max == 4
    for low, high in (*above, *below):
        assert (str(low) if low == high else f"{low} to {high}") in said.sentence


def test_a_band_without_ends_says_nothing():
    said = state_coverage((1, 2), band([0.5, 0.5], [math.nan] * 2), problems=1)
    assert (said.label, said.above, said.below) == ("undecided", (), ())


def test_less_than_one_problem_is_no_difference():
    tiny = band([0.0, 0.0, 3e-5, 3e-5], [0.02, 0.02, 1e-5, 1e-5])
    assert state_coverage((1, 2, 3, 4), tiny, problems=100).label == "kept"
    assert state_coverage((1, 2, 3, 4), tiny, problems=100_000).label == "expanded"


def test_every_budget_up_to_128_and_sixteen_a_doubling_beyond():
    assert budgets(0) == ()
    assert budgets(5) == (1, 2, 3, 4, 5)
    assert budgets(128) == tuple(range(1, 129))
    far = budgets(1000)
    assert far[-1] == 1000
    assert list(far) == sorted(set(far))
    assert all(b / a < 1.06 for a, b in pairwise(far[127:]))


def test_the_first_loss_is_bracketed():
    k = np.arange(1, 5)
    off = np.zeros(4, bool)
    assert first_loss(k, ~off, off) is None
    assert first_loss(k, np.array([1, 1, 0, 0], bool), np.array([0, 0, 0, 1], bool)) == (3, 4)


def counts(p: float, q: float, *, problems=40, draws=64, **columns) -> PairedCounts:
    n = np.full(problems, draws)
    return PairedCounts(
        base=plain_draws(n, np.full(problems, round(p * draws))),
        tuned=plain_draws(n, np.full(problems, round(q * draws))),
        **{name: np.full(problems, value) for name, value in columns.items()},
    )


def test_where_nothing_is_measured_the_reason_is_given():
    flat = Coverage(label="kept", k_max=64)
    assert "too hard" in nothing_measured(counts(0, 0), flat)
    assert "too easy" in nothing_measured(counts(1, 1), flat)
    lenient = counts(0, 0, base_lenient=0.3, tuned_lenient=0.9)
    assert "grader" in nothing_measured(lenient, flat)
    assert "0.30 and 0.90" in nothing_measured(lenient, flat)
    cut = counts(0.1, 0.6, base_cut=0.96, tuned_cut=0.1)
    assert "0.96 of the completions of the base" in nothing_measured(cut, flat)
    assert nothing_measured(counts(0.3, 0.3), flat) == ""
    unread = counts(0.2, 0, base_lenient=0.2, tuned_lenient=0.8)
    assert "the tuned policy is never right as graded, and in 0.80" in nothing_measured(unread, flat)
    assert "the base is never right" in nothing_measured(counts(0, 0.9, base_lenient=0.3), flat)
    failed = counts(0.2, 0.7, tuned_failed=0.72)
    assert "0.72 of the draws of the tuned policy have no verdict" in nothing_measured(failed, flat)
    assert nothing_measured(counts(0, 1), flat) == "", "a sure gain is something"
    lost = Coverage(label="narrowed", below=((20, 64),), k_max=64, largest=0.4)
    assert nothing_measured(counts(0.005, 0, draws=200), lost) == "", "rare success that many draws show"
