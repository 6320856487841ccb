"""Ranking by variance, selections, repetition; on a published history too, where it lies at hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.methods.one_shot.selection import (
    chosen,
    copies_of,
    padded_history,
    rank_by_variance,
    variances,
)

NAN = float("nan")
DATA = Path(os.environ.get("KEYTURN_REAL_DATA", "absent")) / "rlvr_accuracy_history.json"

# Variances .25, 0 (never solved), .0625, 0 (always solved), and one that was never asked.
HISTORY = padded_history([[0, 1, 0, 1], [0, 0, 0], [0.5, 0.5, 1.0, 0.5, 0, 0.5], [1, 1], []])
POOL = tuple(Problem(id=name, prompt=name) for name in "abcde")


def names(how, history=HISTORY, **more):
    return "".join(p.id for p in chosen(how, POOL, history, Streams(1), **more))


def test_variance_is_over_the_epochs_that_a_problem_has():
    np.testing.assert_allclose(variances(HISTORY), [0.25, 0, np.var([0.5, 0.5, 1, 0.5, 0, 0.5]), 0, NAN])


def test_the_ranking_is_descending_stable_and_puts_the_unasked_last():
    assert rank_by_variance(HISTORY).tolist() == [0, 2, 1, 3, 4]


def test_a_twin_that_takes_missing_epochs_for_failures_ranks_otherwise():
    broken = np.argsort(-np.nan_to_num(HISTORY).var(axis=1), kind="stable")
    assert broken.tolist() != rank_by_variance(HISTORY).tolist()


def test_selections():
    assert names("top") == "a"
    assert names("top", examples=2) == "ac"
    assert names("median") == "b"
    # The bottom was solved at least once; what was never solved is a selection of its own.
    assert names("bottom") == "d"
    assert names("unsolvable") == "b"
    assert names("full") == names("format", None) == "abcde"
    assert names("random", None) in POOL_NAMES
    assert names("random", None) == names("random", None)


POOL_NAMES = set("abcde")


def test_what_cannot_be_selected_is_refused():
    with pytest.raises(UsageError, match="history"):
        names("top", None)
    with pytest.raises(InputError, match="unsolvable"):
        names("unsolvable", np.ones((5, 3)))
    with pytest.raises(InputError, match="5 were asked for"):
        names("top", examples=5)


def test_copies_have_ids_of_their_own_and_fill_the_batch():
    copies = copies_of(POOL[:2], 5)
    assert [p.id for p in copies] == ["a#0", "b#0", "a#1", "b#1", "a#2"]
    assert [p.prompt for p in copies] == ["a", "b", "a", "b", "a"]
    assert len({Streams(0).key("sample", p.id, 0) for p in copies}) == 5


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_file(), reason="KEYTURN_REAL_DATA names no folder with the data")
def test_the_published_history_is_ranked_as_its_authors_code_does():
    rows = json.loads(DATA.read_text())
    keys = list(rows)
    history = padded_history(list(rows.values()))
    assert history.shape == (1209, 57)
    order = [keys[i] for i in rank_by_variance(history)]
    theirs = sorted(rows, key=lambda key: np.std(rows[key]), reverse=True)
    spread = {key: np.std(rows[key]) for key in keys}
    # Equal spreads differ in their last bits; every place that is not a tie is the same.
    assert all(abs(spread[a] - spread[b]) < 1e-12 for a, b in zip(order, theirs, strict=True))
    assert order[:3] == ["124", "267", "531"]
    assert order[12] == "682"
    assert spread[order[0]] == pytest.approx(0.4067558705)
    never = np.nanmax(history, axis=1) == 0
    assert never.sum() == 99
    assert spread[order[-1]] == 0
