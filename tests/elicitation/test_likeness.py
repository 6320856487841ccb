"""How alike two taxonomies of sentences are: against pairs, against chance, and with one problem."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from keyturn.core.streams import Streams
from keyturn.elicitation.sentences import likeness


def rand_by_pairs(label, truth):
    """Adjusted Rand index by enumeration of all pairs of sentences."""
    pairs = list(itertools.combinations(range(len(label)), 2))
    same = np.array([[label[i] == label[j], truth[i] == truth[j]] for i, j in pairs])
    both, ours, theirs = same.all(axis=1).sum(), same[:, 0].sum(), same[:, 1].sum()
    chance = ours * theirs / len(pairs)
    return (both - chance) / ((ours + theirs) / 2 - chance)


def test_a_planted_clustering_is_far_above_its_null_and_a_random_one_inside():
    dice = np.random.default_rng(5)
    row, problem = np.repeat(np.arange(20), 6), np.repeat(np.arange(10), 12)
    truth = dice.integers(3, size=120)
    planted = np.where(dice.random(120) < 0.1, dice.integers(3, size=120), (truth + 1) % 3)
    found = likeness(planted, truth, row, problem, Streams(0))
    assert found["ari"] == pytest.approx(rand_by_pairs(planted, truth))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(truth, planted))
    for name in ("ari", "nmi"):
        assert found[f"{name} null high"] < found[f"{name} low"] < found[name] < found[f"{name} high"]
    blind = likeness(dice.integers(3, size=120), truth, row, problem, Streams(0))
    of_answers = likeness(row % 3, row % 3, row, problem, Streams(0))
    for name in ("ari", "nmi"):
        assert blind[f"{name} null low"] <= blind[name] <= blind[f"{name} null high"]
        # Knowing only which answer a sentence is from tells no two sentences of it apart.
        assert of_answers[f"{name} null low"] == pytest.approx(of_answers[name]) == 1.0


def test_without_kinds_nothing_was_measured_and_one_problem_has_no_interval():
    truth, one = np.array([0, 1, 0, 1]), np.zeros(4, dtype=int)
    alike = likeness(np.array([1, 0, 1, -1]), truth, one, one, Streams(0))
    assert alike["ari"] == 1.0
    assert np.isnan([alike["ari low"], alike["nmi high"]]).all()
    nothing = likeness(np.full(4, -1), truth, one, one, Streams(0))
    assert nothing.keys() == alike.keys()
    assert np.isnan(list(nothing.values())).all()
