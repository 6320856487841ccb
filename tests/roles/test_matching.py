"""Phrases in texts: longest first, whole words, and which one fired."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.roles import PLANNING, Role
from keyturn.roles.grams import Gram, StrategicGrams, written_by_hand
from keyturn.roles.lexicon import ROLE_OF, lexicon
from keyturn.roles.matching import Finder, assign
from keyturn.roles.words import runs


def found(text, phrases, words="letters"):
    finder = Finder(written_by_hand(phrases, words=words))
    return [(text[h.start : h.end], finder.grams.entries[h.gram].text) for h in finder.hits(text)]


def per_letter(text):
    return np.array([(i, i + 1) for i in range(len(text))], dtype=np.int32).reshape(-1, 2)


@pytest.mark.parametrize(
    ("text", "phrases", "expected"),
    [
        ("let me check that", ["let me", "let me check"], ["let me check"]),
        # Longer wins although another begins further left.
        ("a b c d e", ["a b", "b c d"], ["b c d"]),
        ("a b c d", ["a b", "c d", "b c"], ["a b", "c d"]),
        ("so some soso So", ["so"], ["so", "So"]),
        ("await waiting wait-time foo_wait _wait_", ["wait"], ["wait", "wait"]),
        ("DOUBLE-check, “Wait”", ["double check", "wait"], ["DOUBLE-check", "Wait"]),
        ("**Wait**, let me", ["wait let me"], ["Wait**, let me"]),
        ("hold on. let me", ["on let"], []),
        ("hold\non", ["hold on"], []),
        ("x = y", ["x y"], []),
        ("that’s not", ["that's not"], ["that’s not"]),
        ("İSTANBUL İ wait", ["wait", "i̇"], ["İ", "wait"]),
        ("cafe\u0301 café cafe", ["cafe"], ["cafe"]),
        ("cafe\u0301 café", ["café"], ["cafe\u0301", "café"]),
        ("नमस्ते दुनिया", ["नमस"], []),
        ("ﬁrst wait", ["first wait"], ["ﬁrst wait"]),
        ("", ["wait"], []),
    ],
)
def test_what_is_found(text, phrases, expected):
    assert [piece for piece, _ in found(text, phrases)] == expected


def test_words_between_blanks_hold_signs():
    assert found("DO fig := 3 ; DO", ["fig := 3", "do"], "spaces") == [
        ("DO", "do"),
        ("fig := 3", "fig := 3"),
        ("DO", "do"),
    ]


def naive(text, phrases, *, key, boundary=True):
    """Independent of the code under test: string search over lower-case ASCII, best first by ``key``."""
    low = text.lower()
    places = []
    for phrase in phrases:
        at = low.find(phrase)
        while at >= 0:
            end = at + len(phrase)
            clean = not (at and low[at - 1].isalpha()) and not (end < len(low) and low[end].isalpha())
            if clean or not boundary:
                places.append((key(phrase), at, end))
            at = low.find(phrase, at + 1)
    taken = []
    for _, at, end in sorted(places):
        if all(end <= a or b <= at for a, b in taken):
            taken.append((at, end))
    return sorted(taken)


def longest(phrase):
    return -len(phrase.split())


WORDS = st.sampled_from(["a", "b", "ab", "ba"])
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)


@given(st.lists(WORDS, max_size=12).map(" ".join), st.sets(PHRASES, min_size=1, max_size=6))
def test_longest_first_and_whole_words_as_a_slow_search_finds_them(text, phrases):
    finder = Finder(written_by_hand(sorted(phrases)))
    assert [(h.start, h.end) for h in finder.hits(text)] == naive(text, phrases, key=longest)


def test_shortest_first_and_no_boundaries_are_other_rules():
    text, phrases = "ab a b ba", {"a", "a b", "b"}
    right = [(h.start, h.end) for h in Finder(written_by_hand(sorted(phrases))).hits(text)]
    assert right == naive(text, phrases, key=longest) == [(3, 6)]
    assert right != naive(text, phrases, key=lambda phrase: len(phrase.split()))
    assert right != naive(text, phrases, key=longest, boundary=False)


def test_tokens_that_overlap_a_span_get_its_role_and_say_which_gram_fired():
    grams = StrategicGrams(
        entries=(Gram(text="wait", role=Role.BACKTRACK), Gram(text="let me check", role=Role.PLAN))
    )
    text = "So wait, let me check it"
    pieces = ["So", " wai", "t,", " let", "", " me check it"]
    ends = np.cumsum([len(piece) for piece in pieces])
    where = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    got = assign([text, "", text], [where, np.zeros((0, 2)), where[:2]], grams, rest=Role.ARITHMETIC)
    assert got.fired.tolist() == [-1, 0, 0, 1, -1, 1, -1, 0]
    assert [Role(r).name for r in got.roles.tolist()] == [
        *("ARITHMETIC", "BACKTRACK", "BACKTRACK", "PLAN", "UNKNOWN", "PLAN"),
        *("ARITHMETIC", "BACKTRACK"),
    ]


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=10))
def test_every_token_that_fired_overlaps_a_span_of_that_gram_and_only_those(text, cuts):
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    where = np.array(list(itertools.pairwise(edges)), dtype=np.int32).reshape(-1, 2)
    words = [word.form for run in runs(text) for word in run][:3]
    grams = written_by_hand(sorted({"a", *words}))
    got = assign([text], [where], grams)
    for (start, end), fired in zip(where.tolist(), got.fired.tolist(), strict=True):
        over = [hit.gram for hit in Finder(grams).hits(text) if start < hit.end and hit.start < end]
        assert (fired == -1 and not over) or fired == over[0]


def test_nothing_to_find_gives_the_rest():
    empty = StrategicGrams(entries=())
    got = assign(["wait"], [per_letter("wait")], empty)
    assert got.roles.tolist() == [0] * 4
    assert assign([], [], empty).roles.shape == (0,)
    with pytest.raises(ValueError, match="offsets of 0 rows"):
        assign(["a"], [], empty)


def test_hostile_text_takes_time_in_proportion_to_its_length():
    finder = Finder(lexicon())
    for unit in ("let ", "'", "_", "a'", "wait\u0301", "\u202e", "((((", "\ud800", "let me let me "):
        text = unit * (40_000 // len(unit))
        start = time.process_time()
        finder.hits(text)
        assert time.process_time() - start < 1, repr(unit)


def test_every_entry_of_the_lexicon_is_found_and_plans():
    grams = lexicon()
    assert 150 <= len(grams) <= 260
    assert {gram.kind for gram in grams.entries} == set(ROLE_OF)
    assert all(1 <= len(gram.text.split()) <= 6 for gram in grams.entries)
    finder = Finder(grams)
    for number, gram in enumerate(grams.entries):
        text = f"xx. {gram.text.capitalize()} xx"
        assert [hit.gram for hit in finder.hits(text)] == [number]
        roles = assign([text], [per_letter(text)], finder).roles
        assert np.isin(roles, list(PLANNING)).sum() == len(gram.text)


def test_announced_checks_can_stand_apart():
    apart = lexicon({**ROLE_OF, "verification": Role.VERIFY})
    assert apart.identity != lexicon().identity
    roles = {gram.role for gram in apart.entries if gram.kind == "verification"}
    assert roles == {Role.VERIFY}
    assert not roles & PLANNING
    only = lexicon({"backtracking": Role.BACKTRACK})
    assert {gram.kind for gram in only.entries} == {"backtracking"}
