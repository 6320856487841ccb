"""The power of a planned audit is that of whole simulated audits, judged as an audit judges."""

import math
from collections import Counter

import numpy as np
import pytest

from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import plain_draws
from keyturn.measures.paired import PairedCounts
from keyturn.measures.power import Assumed, Draw, expected_base_draws, labels_at, power, table_of
from keyturn.measures.truths import BASES, TRUTHS, tuned_success, two_stage_draws

DRAW = Draw(k=64, n_base=256)


def whole_audits(draw, truth, assumed, problems, audits):
    """Labels of audits that are simulated draw by draw, each judged with a bootstrap of its own."""
    found = Counter()
    for audit in range(audits):
        streams = Streams(7).child(truth, assumed.base, problems, audit)
        generator = streams.generator("world")
        p, kind = BASES[assumed.base](generator, 4000, draw.k)
        q = tuned_success(generator, p, kind, truth, assumed.gain)
        p, q = p[:problems], q[:problems]
        counts = PairedCounts(
            base=two_stage_draws(generator, p, draw.n_base),
            tuned=plain_draws(np.full(problems, draw.k), generator.binomial(draw.k, q)),
        )
        found[judge(counts, streams=streams, k=draw.k, resamples=600).label] += 1
    return {label: count / audits for label, count in found.items()}


def furthest(planned, simulated):
    labels = set(planned) | set(simulated)
    return max(abs(planned.get(label, 0.0) - simulated.get(label, 0.0)) for label in labels)


AUDITS = 100
ALLOWED = 0.07 + 3 * math.sqrt(0.25 / AUDITS)
"""Three standard errors of a share of the whole audits, and how far normal intervals are from a bootstrap."""


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize(
    ("draw", "assumed", "problems"),
    [
        (DRAW, Assumed(), 24),
        (DRAW, Assumed(), 48),
        (DRAW, Assumed(base="skewed"), 48),
        (Draw(k=64, n_base=192), Assumed(), 48),
        (Draw(k=16, n_base=64), Assumed(), 64),
        (DRAW, Assumed(gain=0.1), 32),
    ],
)
def test_power_is_that_of_whole_audits(draw, assumed, problems, truth):
    planned = labels_at(table_of(draw, truth, assumed), problems)
    simulated = whole_audits(draw, truth, assumed, problems, AUDITS)
    assert furthest(planned, simulated) < ALLOWED, (planned, simulated)


@pytest.mark.slow
def test_the_comparison_would_tell_another_number_of_problems():
    """Twin: the power of 24 problems is not that of audits of 96."""
    planned = labels_at(table_of(DRAW, "created", Assumed()), 24)
    assert furthest(planned, whole_audits(DRAW, "created", Assumed(), 96, 40)) > ALLOWED


def test_more_problems_decide_more_often_and_too_few_never():
    found = power(DRAW, Assumed(), (8, 24, 96), audits=100)
    assert found[8] == dict.fromkeys(TRUTHS, 0.0)
    for truth in TRUTHS:
        assert found[8][truth] < found[24][truth] < found[96][truth]


def test_a_base_that_cannot_be_told_is_drawn_more_often_than_one_that_succeeds():
    """The mean is exact for the population; the draws of an audit agree within their error."""
    generator = np.random.default_rng(0)
    for base in BASES:
        p, _ = BASES[base](generator, 40_000, 64)
        drawn = two_stage_draws(generator, p, 256).n
        wanted = expected_base_draws(DRAW, Assumed(base=base))
        assert abs(drawn.mean() - wanted) < 4 * drawn.std() * math.sqrt(2 / len(drawn))
    assert expected_base_draws(Draw(k=4, n_base=16), Assumed()) == 16


@pytest.mark.parametrize("k", [2, 3, 8, 64, 500])
@pytest.mark.parametrize("base", BASES)
def test_truths_are_what_they_are_called_at_any_budget(k, base):
    """Created: only where the base succeeds less than once in K draws; deployed: only where more often."""
    generator = np.random.default_rng(1)
    p, kind = BASES[base](generator, 20_000, k)
    for truth, gain in (("created", 0.05), ("deployed", 0.01), ("no change", 0.05)):
        q = tuned_success(generator, p, kind, truth, gain)
        moved = q != p
        assert ((q >= 0) & (q <= 1)).all()
        if truth == "no change":
            assert not moved.any()
            continue
        assert abs((q - p).mean() - gain) < 0.005
        assert ((p[moved] < 1 / k) if truth == "created" else (p[moved] > 1 / k)).all()


def test_an_impossible_gain_is_refused_with_one_that_is_possible():
    generator = np.random.default_rng(1)
    p, kind = BASES["thirds"](generator, 3000, 64)
    with pytest.raises(UsageError, match="cannot be all created") as caught:
        tuned_success(generator, p, kind, "created", 0.5)
    most = float(caught.value.fix.rsplit(" ", 1)[1])
    tuned_success(generator, p, kind, "created", most - 0.01)


def test_draws_that_lower_the_budget_are_refused():
    with pytest.raises(UsageError, match="cannot be judged at K"):
        Draw(k=64, n_base=128)
