"""Columnar completions: selecting, joining and re-pointing keep every row's tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.rollouts.completions import Completions, Prompts, ragged
from keyturn.rollouts.grades import Grades

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=8)


def made(rows, ids=("a", "b"), policy="p"):
    tokens, offsets = ragged(rows)
    size = len(rows)
    return Completions(
        policy=policy,
        prompts=Prompts.build(ids, ids, [[1]] * len(ids)),
        problem=(np.arange(size) % len(ids)).astype(np.int32),
        draw=np.arange(size, dtype=np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=-tokens.astype(np.float32),
        entropies=tokens.astype(np.float32),
        stop=np.zeros(size, dtype=np.uint8),
        texts=tuple(map(str, rows)),
    )


@given(ROWS, st.data())
def test_select_keeps_rows_whole(rows, data):
    some = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6))
    chosen = made(rows).select(np.array(some, dtype=np.int64))
    assert [chosen.row(i).tolist() for i in range(len(some))] == [rows[i] for i in some]
    assert np.array_equal(chosen.logprobs, -chosen.tokens.astype(np.float32))


@given(ROWS, ROWS)
def test_concat_is_both(first, second):
    joined = Completions.concat([made(first), made(second)])
    assert [joined.row(i).tolist() for i in range(len(joined))] == first + second


def test_concat_refuses_other_prompts():
    with pytest.raises(ValueError, match="cannot be joined"):
        Completions.concat([made([[1]]), made([[1]], ids=("c", "d"))])


def test_onto_points_at_the_same_problem():
    small = made([[1], [2]], ids=("b", "a"))
    large = small.onto(Prompts.build("abc", "abc", [[1]] * 3))
    assert [large.prompts.ids[p] for p in large.problem] == ["b", "a"]


@given(ROWS, st.data())
def test_grades_select_their_tokens(rows, data):
    completions = made(rows)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=bool)
    outcome = np.arange(len(rows), dtype=np.float32)
    grades = Grades(
        outcome=outcome,
        verified=outcome,
        answer=tuple(map(str, outcome)),
        roles=completions.tokens.astype(np.uint8),
        token_columns={"t": completions.tokens},
    )
    some = grades.select(completions, keep)
    assert np.array_equal(some.token_columns["t"], completions.select(keep).tokens)
    assert np.array_equal(some.outcome, outcome[keep])
