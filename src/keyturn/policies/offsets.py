"""The span of each token's characters in the decoded text, for any tokenizer.

Idea: the text of a token is the text that decoding gains when the token is added. Most tokens are decoded
alone. Where these texts do not add up to the whole (a decoder that strips, joins or needs neighbours), each
token is decoded after the last one that showed text, and where even that fails, after everything before it. A
character whose bytes are spread over several tokens belongs to all of them. Special tokens are not decoded and
have an empty span at their place.
Degenerate: a row without tokens has no spans; a row that was cut inside a character ends in a replacement
character, which its last tokens share.
The method is ours; streaming servers use the windowed form to show text as it arrives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keyturn.core.identity import identity
from keyturn.core.roles import Role
from keyturn.roles.grams import StrategicGrams
from keyturn.roles.matching import Finder, assign
from keyturn.rollouts.completions import Completions

_BROKEN = "\ufffd"


class Decodes(Protocol):
    """The part of a tokenizer that this module uses; every tokenizer of transformers has it."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = ...) -> str:
        """The text of ids."""
        ...


class Spelling:
    """Decodes rows and gives each token's span. It caches decoded tokens, so make one per tokenizer.

    Args:
        tokenizer: any object with ``decode``.
    """

    def __init__(self, tokenizer: Decodes) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[int, ...], str] = {}
        added = getattr(tokenizer, "added_tokens_decoder", {})
        marked = {int(token) for token, word in added.items() if getattr(word, "special", False)}
        self._special = marked | {int(token) for token in getattr(tokenizer, "all_special_ids", ())}

    def row(self, tokens: Sequence[int] | NDArray[np.integer]) -> tuple[str, NDArray[np.int32]]:
        """The text of a row without special tokens, and its tokens' spans, int32 ``[token, 2]``."""
        ids = [int(token) for token in tokens]
        shown = [token for token in ids if token not in self._special]
        text = self._decode(ids)
        if len(shown) < len(ids) and self._decode(shown) == text:
            # A special token shows no text; its empty span stands at the end of the text before it.
            where = np.zeros((len(ids), 2), dtype=np.int32)
            here = np.array([token not in self._special for token in ids], dtype=bool)
            where[here] = self._places(shown, text)
            reached = np.maximum.accumulate(where[:, 1])
            where[~here] = reached[~here, None]
            return text, where
        return text, self._places(ids, text)

    def _places(self, ids: list[int], text: str) -> NDArray[np.int32]:
        pieces = [self._short((token,)) for token in ids]
        if _BROKEN not in text and "".join(pieces) == text:
            ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int32)
            starts = np.concatenate([np.zeros(1, dtype=np.int32), ends])[:-1]
            return np.stack([starts, ends], axis=1)
        where = _windowed(ids, text, self._short)
        return where if where is not None else _from_the_start(ids, text, self._decode)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def _short(self, ids: tuple[int, ...]) -> str:
        found = self._known.get(ids)
        if found is None:
            if len(self._known) > 1_000_000:
                self._known.clear()
            found = self._known[ids] = self._decode(list(ids))
        return found


def _windowed(ids: list[int], text: str, decode: Callable[[tuple[int, ...]], str]) -> NDArray[np.int32] | None:
    """Spans by decoding each token after the last group that showed text; None: they do not add up."""
    where = np.zeros((len(ids), 2), dtype=np.int32)
    head = group = done = 0
    partial: list[str] = []
    for index in range(len(ids)):
        before, now = decode(tuple(ids[head:group])), decode(tuple(ids[head : index + 1]))
        partial.append(now)
        whole = now.startswith(before) and not now.endswith(_BROKEN)
        if not whole and index + 1 < len(ids):
            continue
        if not now.startswith(before):
            return None
        piece = now[len(before) :]
        if text[done : done + len(piece)] != piece:
            return None
        where[group : index + 1] = done + _shared([p[len(before) :] for p in partial], piece)
        done += len(piece)
        if piece:
            head = group
        group, partial = index + 1, []
    return where if done == len(text) else None


def _from_the_start(ids: list[int], text: str, decode: Callable[[list[int]], str]) -> NDArray[np.int32]:
    """Spans by decoding every prefix; quadratic, for decoders on which windows fail."""
    return _shared([decode(ids[: index + 1]) for index in range(len(ids))], text)


def _shared(partial: Sequence[str], whole: str) -> NDArray[np.int32]:
    """Spans of tokens in the text that they decode to together.

    Args:
        partial: the text of each prefix, one token longer each time.
        whole: the text of all tokens.
    """
    agreed = [0, *(_common(text, whole) for text in partial)]
    shortest = len(whole)
    for index in range(len(partial) - 2, -1, -1):
        shortest = min(shortest, len(partial[index + 1]))
        if partial[index].endswith(_BROKEN):
            # Unfinished characters and the replacement character itself look alike; a finished one makes
            # every later text longer.
            agreed[index + 1] = min(agreed[index + 1], max(shortest - 1, 0))
    agreed[-1] = len(whole)
    places = []
    for before, upto, text in zip(agreed[:-1], agreed[1:], partial, strict=True):
        # Text beyond the common part is the beginning of a character whose other bytes are still to come.
        unfinished = len(text) > upto and upto < len(whole)
        start = min(before, upto)
        places.append((start, upto + unfinished))
    return np.array(places, dtype=np.int32).reshape(-1, 2)


def _common(first: str, second: str) -> int:
    """Length of the beginning that two texts share."""
    if second.startswith(first):
        return len(first)
    return next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), len(second))


@dataclass(frozen=True, eq=False)
class GramRoles:
    """A source of roles for the RL loop (its ``RoleSource``): phrases, found in what the tokens decode to.

    Args:
        grams: the phrases.
        tokenizer: the answering policy's tokenizer, so that the policy's fingerprint covers it.
        rest: role of tokens outside all phrases (``keyturn.roles.matching``).
    """

    grams: StrategicGrams
    tokenizer: Decodes
    rest: Role = Role.UNKNOWN

    @property
    def fingerprint(self) -> str:
        """Hash of the phrases and of the role of the rest: a run with other phrases is another run."""
        return identity({"grams": self.grams.identity, "rest": self.rest.name})

    @functools.cached_property
    def _found(self) -> tuple[Spelling, Finder]:
        return Spelling(self.tokenizer), Finder(self.grams)

    def __call__(self, completions: Completions) -> NDArray[np.uint8]:
        """A Role per token, uint8 ``[token]``; the completions' own texts are not read: engines may leave them
        empty."""
        spelling, finder = self._found
        rows = [spelling.row(completions.row(row)) for row in range(len(completions))]
        return assign([text for text, _ in rows], [where for _, where in rows], finder, rest=self.rest).roles
