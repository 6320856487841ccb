"""The prefix reward, byte by byte, with characters of several bytes and texts that mean harm."""

import numpy as np
import pytest
from hypothesis import given as over
from hypothesis import strategies as some
from made_graded import given, graded

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.rewards.prefix import PrefixConfig, accepted, predicted, prefix, with_continuation

BLANK = Problem(id="a", prompt="The cat")
CAT = with_continuation(BLANK, [b" sat", b" on", b" the", b" mat", b"."])
EXACT = PrefixConfig(strip=False)


def paid(problem, text, config=PrefixConfig()):  # noqa: B008
    return given(prefix(config), graded([0], texts=[text], facts=dict(problem.facts)))[0]


@pytest.mark.parametrize(
    ("text", "stripped", "exact"),
    [
        ("so it goes</think>\\boxed{ sat}", 1, 1),
        ("</think>\\boxed{sat}", 1, 0),
        ("</think>\\boxed{ sat on}", 1, 1),
        ("</think>\\boxed{sat on the mat.}", 1, 0),
        ("</think>\\boxed{ sat on the mat.}", 1, 1),
        ("</think>\\boxed{ sa}", 0, 0),
        ("</think>\\boxed{ sat o}", 0, 0),
        ("</think>\\boxed{ sat on the mat. The}", 0, 0),
        ("</think>\\boxed{ Sat}", 0, 0),
        ("</think>\\boxed{ sat }", 1, 0),
        ("</think>\\boxed{}", 0, 0),
        ("</think>\\boxed{ sat", 0, 0),
        ("</think> sat", 0, 0),
        ("\\boxed{ sat}", 0, 0),
        ("\\boxed{ sat}</think>", 0, 0),
        ("</think>\\boxed{ ran} or \\boxed{ sat}", 1, 1),
        ("</think>\\boxed{ sat} or \\boxed{ ran}", 0, 0),
        ("</think>\\boxed{ ran}</think>\\boxed{ sat}", 1, 1),
        ("", 0, 0),
    ],
)
def test_a_prediction_is_paid_at_the_end_of_a_token(text, stripped, exact):
    assert paid(CAT, text) == stripped
    assert paid(CAT, text, EXACT) == exact


def test_a_character_of_several_bytes_counts_whole():
    # é is two bytes in one token, then in two; the euro sign is split over three tokens.
    accent = with_continuation(BLANK, ["é".encode(), b"t", "é".encode()[:1], "é".encode()[1:]])
    assert accent.facts["boundaries"] == "2 3 4 5"
    for text, expected in (("é", 1), ("ét", 1), ("été", 1), ("e", 0), ("e\u0301", 0), ("ét\ufffd", 0)):
        assert paid(accent, f"</think>\\boxed{{{text}}}") == expected
    euro = with_continuation(BLANK, [b"5 \xe2", b"\x82", b"\xac", b"!"])
    for text, expected in (("5 €", 1), ("5 €!", 1), ("5", 0), ("5 ", 0)):
        assert paid(euro, f"</think>\\boxed{{{text}}}") == expected
    # One wide blank is a token of its own here: it is no ASCII space, so it counts.
    wide = with_continuation(BLANK, ["\u3000".encode(), b"x"])
    assert accepted(wide, strip=True) == {"\u3000".encode(), "\u3000x".encode()}


def test_without_tokens_words_are_the_tokens():
    world = Problem(id="a", prompt="?", answer="ANS 4 EOS")
    assert accepted(world, strip=True) == {b"ANS", b"ANS 4", b"ANS 4 EOS"}
    assert accepted(world, strip=False) == {b"ANS", b"ANS 4", b"ANS 4 EOS"}
    whole = PrefixConfig(marker="", boxed=False)
    assert given(prefix(whole), graded([0, 0, 0], texts=["3", "3 ", "33"])).tolist() == [1, 1, 0]
    assert accepted(Problem(id="a", prompt="?", answer=" a\n b"), strip=False) == {b" a", b" a\n b"}


def test_nothing_to_continue_is_ungraded():
    assert accepted(BLANK, strip=True) is None
    assert np.isnan(paid(Problem(id="a", prompt="?", facts={"continuation": ""}), "</think>\\boxed{x}"))


def test_tokens_of_blanks_alone_are_no_prediction_when_stripped():
    indented = with_continuation(BLANK, [b"\n", b"    ", b"return", b" x"])
    assert accepted(indented, strip=True) == {b"return", b"return x"}
    assert accepted(indented, strip=False) == {b"\n", b"\n    ", b"\n    return", b"\n    return x"}
    assert paid(indented, "</think>\\boxed{ }") == 0


@pytest.mark.parametrize("stated", ["", "x", "3 2", "-1 3", "1 99", "1.5"])
def test_boundaries_that_are_none_are_refused(stated):
    problem = Problem(id="odd", prompt="?", facts={"continuation": "abc", "boundaries": stated})
    with pytest.raises(InputError, match="odd"):
        accepted(problem, strip=True)


def test_a_continuation_that_ends_inside_a_character_is_refused():
    with pytest.raises(InputError, match="UTF-8"):
        with_continuation(BLANK, [b"\xe2\x82"])


def test_a_lone_surrogate_is_compared_and_does_no_harm():
    assert paid(CAT, "</think>\\boxed{\ud800}") == 0
    assert predicted("</think>\\boxed{\ud800}", PrefixConfig()) == b"\xed\xa0\x80"


def naive(tokens, text):
    """The definition, tried out on every number of tokens."""
    return any(b"".join(tokens[:n]) == text.encode() for n in range(1, len(tokens) + 1)) and text != ""


@over(some.lists(some.text("aé€ \n", min_size=1, max_size=3), min_size=1, max_size=4), some.data())
def test_exact_matching_is_the_definition_on_any_tokens(tokens, data):
    raw = [token.encode() for token in tokens]
    text = data.draw(some.sampled_from([*("".join(tokens[:n]) for n in range(5)), "a", "é ", "€"]))
    found = accepted(with_continuation(BLANK, raw), strip=False)
    assert found is not None
    assert (text.encode() in found) == naive(raw, text)
