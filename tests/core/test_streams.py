"""Named streams: the same name gives the same draws, neighbouring roots share nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.streams import Streams


def test_a_name_gives_the_same_draws_whatever_else_is_drawn():
    streams = Streams(7)
    first = streams.generator("sample", "p1", 3).random(5)
    streams.generator("other").random(100)
    assert np.array_equal(first, streams.child("sample").generator("p1", 3).random(5))


def test_neighbouring_roots_share_no_draw():
    draws = [set(Streams(root).generator("x").integers(2**63, size=2000).tolist()) for root in (42, 43)]
    assert not draws[0] & draws[1]


@given(st.integers(), st.text(), st.text())
def test_labels_are_not_glued_together(root, a, b):
    streams = Streams(root)
    if a and b and "\x1f" not in a + b:
        assert streams.key(a, b) != streams.key(a + b)
        assert 0 <= streams.seed(a, b) < 2**63


def test_streams_of_different_names_are_uncorrelated():
    rows = np.stack([Streams(0).generator("sample", "p", i).random(4000) for i in range(8)])
    correlation = np.corrcoef(rows) - np.eye(8)
    assert np.abs(correlation).max() < 0.08


def test_rows_of_uniforms_are_the_first_numbers_of_their_streams():
    streams, names = Streams(7).child("step", 3), [("sample", f"p{n}", n % 5) for n in range(20)]
    for width in (1, 3, 4, 5, 90):
        found = np.empty((20, width))
        streams.uniforms(iter(names), found)
        assert np.array_equal(found, [streams.generator(*name).random(width) for name in names])
