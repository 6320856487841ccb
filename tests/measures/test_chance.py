"""Luck is not ability: classes, cells and labels where chance is known."""

from __future__ import annotations

import numpy as np
import pytest

from keyturn.core.streams import Streams
from keyturn.measures.chance import cells_at_chance, more_than_luck, reach_threshold
from keyturn.measures.classes import classify
from keyturn.measures.deployed_created import judge
from keyturn.measures.draws import plain_draws
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED, UNREACHABLE

STREAMS = Streams(20_261_129)
LUCK = 1 / 7


def made(p, q, chance, *, base=768, tuned=64, cells=None, name="made") -> PairedCounts:
    generator = STREAMS.generator("draws", name)
    p, q = np.asarray(p, float), np.asarray(q, float)
    return PairedCounts(
        base=plain_draws(np.full(len(p), base), generator.binomial(base, p)),
        tuned=plain_draws(np.full(len(q), tuned), generator.binomial(tuned, q)),
        chance=None if chance is None else np.asarray(chance, float),
        cells=cells,
    )


def judged(counts: PairedCounts, k: int = 64):
    return judge(counts, streams=STREAMS, k=k, resamples=400)


def test_a_threshold_asks_for_more_than_luck_and_more_than_one_in_k():
    assert reach_threshold(np.array(np.nan), 64.0) == pytest.approx(1 / 64)
    assert reach_threshold(np.array(0.0), 64.0) == pytest.approx(1 / 64)
    assert reach_threshold(np.array(LUCK), 64.0) == pytest.approx(2 * LUCK)
    assert reach_threshold(np.array(LUCK), 2.0) == pytest.approx(LUCK + (1 - LUCK) / 2)
    assert more_than_luck(np.array(0.5)) == pytest.approx(0.75), "a coin is beaten at three in four"
    chances = np.linspace(0, 1, 50)
    assert (more_than_luck(chances) <= 1).all()
    assert (np.diff(more_than_luck(chances)) >= 0).all()


def test_classes_where_luck_is_known():
    n = np.full(5, 256)
    c = np.array([0, 37, 60, 200, 4])
    chance = np.array([LUCK, LUCK, LUCK, LUCK, 1e-4])
    found = classify(c, n, (64,), chance=chance)[:, 0].tolist()
    assert found == [UNREACHABLE, AT_CHANCE, UNDECIDED, REACHABLE, UNDECIDED]
    plain = classify(c, n, (64,))[:, 0].tolist()
    assert plain == [UNREACHABLE, REACHABLE, REACHABLE, REACHABLE, UNDECIDED]


def test_a_cell_at_chance_keeps_only_overwhelming_exceptions():
    n = np.full(24, 256)
    c = np.full(24, 37)
    c[0], c[1] = 250, 88
    flagged = np.ones(24, bool)
    found = classify(c, n, (64,), chance=np.full(24, LUCK), at_chance=flagged)[:, 0]
    assert found[0] == REACHABLE
    assert found[1] == AT_CHANCE, "one in twenty problems is so lucky"
    assert (found[2:] == AT_CHANCE).all()


def test_a_whole_cell_is_tested():
    generator = STREAMS.generator("cells")
    cells = np.repeat([0, 1], 24)
    rate = np.where(cells == 0, generator.normal(LUCK, 0.02, 48), generator.normal(0.3, 0.02, 48))
    found = cells_at_chance(rate, np.full(48, LUCK), cells)
    assert found[:24].all()
    assert not found[24:].any()
    assert not cells_at_chance(rate, None, cells).any()
    assert not cells_at_chance(rate[:1], np.full(1, LUCK), None).any()


@pytest.mark.parametrize("k", [2, 4, 8, 16, 32, 64, 128, 256])
def test_what_the_base_only_hits_by_luck_is_never_deployed(k):
    """The world in which composing was never in pretraining, all depths, at every K."""
    depth = np.repeat([1, 2, 3, 4, 5, 6], 24)
    chance = 7.0 ** -np.maximum(depth - 1, 1)
    p = np.where(depth == 1, 0.99, chance)
    q = np.where(depth == 1, 0.99, 0.9)
    found = judged(made(p, q, chance, cells=depth, name=f"absent {k}"), k)
    assert found.k == k
    assert found.label == "created"
    assert found.shares["deployed"].high < 0.1
    masses = found.masses
    parts = sum(masses[name].value for name in ("deployed", "created", "undecided", "at_chance"))
    assert parts == pytest.approx(masses["gain"].value)
    broken = judged(made(p, q, None, cells=depth, name=f"absent {k}"), k)
    if k == 64:
        assert broken.shares["deployed"].value > 0.2, "without chance the same draws look like ability"


@pytest.mark.parametrize("k", [8, 64, 256])
def test_ability_above_luck_is_still_deployed(k):
    depth = np.repeat([1, 2, 3], 32)
    chance = 7.0 ** -np.maximum(depth - 1, 1)
    found = judged(made(np.full(96, 0.6), np.full(96, 0.95), chance, cells=depth, name=f"present {k}"), k)
    assert found.label == "deployed"
    assert not (found.classes == AT_CHANCE).any()


def test_half_of_the_successes_are_luck():
    """Half of the problems are solved by ability and half by luck, at equal gain: half and half."""
    able = np.arange(96) % 2 == 0
    p, q = np.where(able, 0.5, LUCK), np.where(able, 0.85, LUCK + 0.35)
    found = judged(made(p, q, np.full(96, LUCK), name="half"))
    assert found.label == "mixed"
    assert found.shares["deployed"].value == pytest.approx(0.5, abs=0.06)
    assert found.shares["at_chance"].value == pytest.approx(0.5, abs=0.06)
    assert (found.classes[~able] == AT_CHANCE).mean() > 0.8


def test_chance_that_is_not_shown_to_be_all_counts_for_nothing():
    """Few draws cannot tell luck from ability: neither created nor deployed."""
    p = np.full(20, 0.29)
    found = judged(made(p, np.full(20, 0.7), np.full(20, LUCK), base=24, name="few"), 8)
    assert found.label == "undecided"
    assert found.needed


def test_a_bound_of_chance_decides_nothing():
    p, q = np.full(48, 0.1), np.full(48, 0.5)
    counts = made(p, q, None, name="bound")
    with_floor = PairedCounts(base=counts.base, tuned=counts.tuned, floor=np.full(48, 0.2))
    assert judged(with_floor).label == judged(counts).label == "deployed"
