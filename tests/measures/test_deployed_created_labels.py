from __future__ import annotations

import math

import pytest

from keyturn.core.measurement import Estimate
from keyturn.measures.labels import coverage_of, label_of

NOTHING = Estimate(math.nan)


def share(low: float) -> Estimate:
    return Estimate(low + 0.1, low, low + 0.2)


@pytest.mark.parametrize(
    ("gain", "deployed", "created", "coverage", "label"),
    [
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "kept", "no change"),
        (Estimate(0.015, 0.001, 0.029), share(0.9), share(-0.1), "kept", "no change"),
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "undecided", "undecided"),
        (Estimate(0.0, -0.02, 0.02), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(-0.1, -0.2, -0.05), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(-0.1, -0.2, -0.05), NOTHING, NOTHING, "kept", "undecided"),
        (Estimate(0.01, -0.02, 0.04), NOTHING, NOTHING, "kept", "undecided"),
        (Estimate(0.01, -0.02, 0.04), NOTHING, NOTHING, "narrowed", "narrowed"),
        (Estimate(0.2, 0.1, 0.3), share(0.3), share(0.3), "expanded", "mixed"),
        (Estimate(0.2, 0.1, 0.3), share(0.2), share(0.55), "expanded", "mixed"),
        (Estimate(0.2, 0.1, 0.3), share(0.1), share(0.55), "expanded", "created"),
        (Estimate(0.2, 0.1, 0.3), share(0.55), share(0.1), "kept", "deployed"),
        (Estimate(0.2, 0.1, 0.3), share(0.55), share(0.1), "narrowed", "deployed"),
        (Estimate(0.2, 0.1, 0.3), share(0.45), share(0.1), "kept", "undecided"),
        (Estimate(0.2, 0.1, 0.3), share(-math.inf), share(-math.inf), "kept", "undecided"),
        (Estimate(0.2), NOTHING, NOTHING, "undecided", "undecided"),
        (Estimate(math.nan), NOTHING, NOTHING, "undecided", "undecided"),
    ],
)
def test_the_first_rule_that_holds(gain, deployed, created, coverage, label):
    assert label_of(gain, deployed, created, coverage) == label


@pytest.mark.parametrize(
    ("gained", "lost", "net", "coverage"),
    [
        (Estimate(0.0, -0.02, 0.02), Estimate(0.0, -0.02, 0.02), Estimate(0.0, -0.03, 0.03), "kept"),
        (Estimate(0.1, 0.05, 0.15), Estimate(-0.02, -0.04, 0.0), Estimate(0.12, 0.06, 0.18), "expanded"),
        (Estimate(-0.02, -0.04, 0.0), Estimate(0.1, 0.05, 0.15), Estimate(-0.12, -0.18, -0.06), "narrowed"),
        (Estimate(0.1, 0.05, 0.15), Estimate(0.1, 0.05, 0.15), Estimate(0.0, -0.1, 0.1), "undecided"),
        (Estimate(0.1, 0.05, 0.15), Estimate(0.3, 0.2, 0.4), Estimate(-0.2, -0.3, -0.1), "narrowed"),
        (Estimate(0.3, 0.2, 0.4), Estimate(0.1, 0.05, 0.15), Estimate(0.2, 0.1, 0.3), "expanded"),
        (Estimate(0.0, -0.2, 0.2), Estimate(0.0, -0.02, 0.02), Estimate(0.0, -0.2, 0.2), "undecided"),
        (Estimate(0.001, 0.0005, 0.002), Estimate(0.0, 0.0, 0.0), Estimate(0.0, 0.0, 0.001), "kept"),
        (NOTHING, NOTHING, NOTHING, "undecided"),
        (Estimate(0.5), Estimate(0.5), Estimate(0.0), "undecided"),
    ],
)
def test_coverage_beyond_the_null(gained, lost, net, coverage):
    assert coverage_of(gained, lost, net, problems=100) == coverage
