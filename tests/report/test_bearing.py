"""What an audit says to the claims that it bears on."""

from dataclasses import replace

import pytest

from keyturn.atlas import CLAIMS
from keyturn.core.measurement import Estimate
from keyturn.measures.verdict import Coverage
from keyturn.report.bearing import BUDGET, DEPLOYS, MOST, NARROWS, bearings, how_to_count


def test_the_words_and_the_bound_are_those_of_the_claims():
    assert CLAIMS["rl-deploys"].statement == DEPLOYS
    assert CLAIMS["rl-narrows"].statement == NARROWS
    assert CLAIMS["rl-deploys"].threshold.smallest == MOST


@pytest.mark.parametrize(
    ("share", "start"),
    [
        (Estimate(0.9, 0.8, 1.0), "Speaks for it: 0.90 [0.80, 1.00]"),
        (Estimate(0.1, 0.0, 0.2), "Speaks against it"),
        (Estimate(0.5, 0.4, 0.6), "Leaves it open"),
        (Estimate(float("nan")), "Says nothing to it"),
    ],
)
def test_a_share_speaks_for_or_against(audits, share, start):
    verdict = replace(audits[0].verdict, shares={"deployed": share})
    assert bearings(verdict)[0].here.startswith(start)
    assert bearings(replace(verdict, shares={}))[0].here.startswith("Says nothing")


@pytest.mark.parametrize(
    ("label", "start"),
    [
        ("narrowed", "Speaks for it"),
        ("expanded", "Speaks against it"),
        ("kept", "Leaves"),
        ("crossing", "Leaves"),
    ],
)
def test_coverage_speaks_for_or_against(audits, label, start):
    verdict = replace(audits[0].verdict, coverage=Coverage(label=label, k_max=64))
    assert bearings(verdict)[1].here.startswith(start)
    nothing = replace(verdict, coverage=Coverage(label=label, k_max=0))
    assert bearings(nothing)[1].here.startswith("Says nothing")


def test_only_an_audit_at_the_claims_budget_is_offered_as_a_record(audits):
    from keyturn.atlas.from_audit import K

    assert BUDGET == K
    verdict = audits[0].verdict
    before, command = how_to_count(replace(verdict, k=BUDGET), "runs/mine")
    assert command.startswith("keyturn evidence from-audit runs/mine --trained-by")
    before, command = how_to_count(replace(verdict, k=21), "runs/mine")
    assert "no record" in before
    assert command.endswith("--k 64")
