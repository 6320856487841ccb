"""Finds the tokens inside planning phrases, and the phrase of each.

Formula: of all literal matches of grams, the longest (in words) is taken first, and of equally long ones the
leftmost; matches that overlap a taken one are left out. A token is inside if its characters overlap a taken
span: ``start_token < end_span and start_span < end_token``. Case, width and apostrophes do not matter, but word
boundaries do: "so" is not found in "some".
Denominator: none; every generated token gets a role. Planning tokens get the gram's role; the others get
``rest`` (UNKNOWN by default, since a phrase list says nothing about them). In the paper's sense all others are
execution tokens, also prose and formatting. For an objective that uses the EXECUTION roles (execution-only
credit), set ``rest=Role.ARITHMETIC``. Tokens without characters (special tokens) are always UNKNOWN and count
as neither. Degenerate: without a gram, a text or a token there is no span, and all tokens get ``rest``.
Known bias: a token that contains the end of a phrase and letters after it counts as inside.
Source: Wang et al. 2025 (2509.03646): planning tokens lie inside a matched gram, execution is the rest.
Departures: the paper does not say how overlapping matches are resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keyturn.core.roles import Role
from keyturn.roles.grams import StrategicGrams
from keyturn.roles.words import runs


class Hit(NamedTuple):
    """A gram in a text: characters ``start`` to ``end`` (exclusive), and its index in the set."""

    start: int
    end: int
    gram: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Assigned:
    """The role of every token, and the gram that gave it.

    Args:
        roles: a :class:`Role` per token, uint8 ``[token]``.
        fired: index of the gram that matched, int32 ``[token]``; -1 for none.
    """

    roles: NDArray[np.uint8]
    fired: NDArray[np.int32]


class Finder:
    """Finds the grams of one set; made once and used for every text.

    Args:
        grams: the set.
    """

    def __init__(self, grams: StrategicGrams) -> None:
        self.grams = grams
        self._place = {gram.text: number for number, gram in enumerate(grams.entries)}
        self._heads = {gram.text.split(" ", 1)[0] for gram in grams.entries}
        self._lengths = sorted({gram.text.count(" ") + 1 for gram in grams.entries})

    def hits(self, text: str) -> list[Hit]:
        """The taken spans of a text, from left to right."""
        found: list[Hit] = []
        for run in runs(text, self.grams.words):
            forms = [word.form for word in run]
            places = [
                (-length, start, number)
                for start, form in enumerate(forms)
                if form in self._heads
                for length in self._lengths
                if start + length <= len(forms)
                and (number := self._place.get(" ".join(forms[start : start + length]))) is not None
            ]
            taken = [False] * len(forms)
            for less, start, number in sorted(places):
                if not any(taken[start : start - less]):
                    taken[start : start - less] = [True] * -less
                    found.append(Hit(run[start].start, run[start - less - 1].end, number))
        return sorted(found)


def assign(
    texts: Sequence[str],
    offsets: Sequence[NDArray[np.integer]],
    grams: StrategicGrams | Finder,
    *,
    rest: Role = Role.UNKNOWN,
) -> Assigned:
    """The role of every token of some texts, and the gram that gave it.

    Args:
        texts: one text per row.
        offsets: for each row, the span of each token's characters in its text, ``[token, 2]``, end exclusive; a
            token without characters has an empty span.
        grams: the phrases.
        rest: role of tokens outside all of them.

    Returns:
        The tokens of all rows, concatenated.
    """
    if len(texts) != len(offsets):
        raise ValueError(f"offsets of {len(offsets)} rows for {len(texts)} texts")
    finder = grams if isinstance(grams, Finder) else Finder(grams)
    # The last entry is the role for index -1, "none".
    role_of = np.array([*(gram.role for gram in finder.grams.entries), rest], dtype=np.uint8)
    fired: list[NDArray[np.int32]] = [np.zeros(0, dtype=np.int32)]
    roles: list[NDArray[np.uint8]] = [np.zeros(0, dtype=np.uint8)]
    for text, where in zip(texts, offsets, strict=True):
        which = _inside(np.asarray(where, dtype=np.int64).reshape(-1, 2), finder.hits(text))
        fired.append(which)
        empty = np.asarray(where).reshape(-1, 2)[:, 0] >= np.asarray(where).reshape(-1, 2)[:, 1]
        roles.append(np.where(empty, np.uint8(Role.UNKNOWN), role_of[which]).astype(np.uint8))
    return Assigned(roles=np.concatenate(roles), fired=np.concatenate(fired))


def _inside(where: NDArray[np.int64], hits: Sequence[Hit]) -> NDArray[np.int32]:
    """The gram whose span each token overlaps, int32 ``[token]``; the first of several, -1 for none."""
    fired = np.full(len(where), -1, dtype=np.int32)
    if not hits or not len(where):
        return fired
    spans = np.array(hits, dtype=np.int64)
    # Spans do not overlap and are sorted, so only the first one that ends after the token's start can overlap
    # it.
    first = np.searchsorted(spans[:, 1], where[:, 0], side="right")
    near = np.minimum(first, len(spans) - 1)
    inside = (first < len(spans)) & (spans[near, 0] < where[:, 1]) & (where[:, 0] < where[:, 1])
    fired[inside] = spans[near[inside], 2]
    return fired
