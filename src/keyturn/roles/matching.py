"""Which tokens stand inside a phrase that plans, and which phrase it was.

Formula: of all places where a gram stands word for word, the longest (in words) is taken first, of equally long
ones the leftmost; what overlaps a taken one is left out. A token is inside where its characters overlap a
taken span: ``start_token < end_span and start_span < end_token``. Case, width and apostrophes do not matter,
word boundaries do: "so" is not found in "some".
Denominator: none; every generated token gets a role. Planning tokens get the gram's role; the others get
``rest`` (UNKNOWN by default: a phrase list knows nothing of them). In the paper's sense all of those are
execution tokens, prose and formatting included: all that is not in PLANNING. An objective that asks for
the EXECUTION roles (execution-only credit) reads them so with ``rest=Role.ARITHMETIC``. Tokens without
characters (special tokens) are UNKNOWN always, and count as neither.
Degenerate: no gram, no text, no token: no span, all tokens ``rest``.
Known bias: a token that holds the end of a phrase and the letters behind it counts as inside.
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
    """A gram in a text: characters ``start`` to ``end`` (exclusive), and its place in the set."""

    start: int
    end: int
    gram: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Assigned:
    """What every token got, and from which gram.

    Args:
        roles: a :class:`Role` per token, uint8 ``[token]``.
        fired: index of the gram that fired, int32 ``[token]``; -1: none.
    """

    roles: NDArray[np.uint8]
    fired: NDArray[np.int32]


class Finder:
    """Finds the grams of one set; made once, asked for every text.

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
        texts: one a row.
        offsets: where each token's characters stand in its row's text, ``[token, 2]`` a row, end exclusive; a
            token without characters has an empty span.
        grams: the phrases.
        rest: role of tokens outside all of them.

    Returns:
        Tokens end to end, in the order of the rows.
    """
    if len(texts) != len(offsets):
        raise ValueError(f"offsets of {len(offsets)} rows for {len(texts)} texts")
    finder = grams if isinstance(grams, Finder) else Finder(grams)
    # The last entry is that of -1, "none".
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
    # Spans do not overlap and are sorted: the first one that ends behind the token's start is the only choice.
    first = np.searchsorted(spans[:, 1], where[:, 0], side="right")
    near = np.minimum(first, len(spans) - 1)
    inside = (first < len(spans)) & (spans[near, 0] < where[:, 1]) & (where[:, 0] < where[:, 1])
    fired[inside] = spans[near[inside], 2]
    return fired
