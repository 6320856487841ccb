"""The words of a text and the possible places of a phrase, read in the same way for mining and for matching.

A phrase never crosses the end of a clause. A *run* is a sequence of words with only spaces and light
punctuation between them (commas, quotes, dashes, brackets, emphasis marks); a full stop, a colon, an operator
or a new line ends it. Words are compared in NFKC, case-folded, with one kind of apostrophe. Each word is folded
separately, so positions stay those of the original text even if folding changes a letter's length.
Everything is linear in the length of the text.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from keyturn.core.errors import UsageError

WordKind: TypeAlias = Literal["letters", "spaces"]
"""Kinds of words: letters, digits and marks (prose), or everything between spaces (the world's text)."""

WORD_KINDS: tuple[WordKind, ...] = ("letters", "spaces")

_LIGHT = re.compile(r"""[ \t\u00a0]*[,"'“”‘’()\[\]*–—\-]{0,4}[ \t\u00a0]*""")
_BLANKS = re.compile(r"\s*")


class Word(NamedTuple):
    """A word: its span (characters, end exclusive) and its form for comparison."""

    start: int
    end: int
    form: str


@functools.cache
def _letters() -> re.Pattern[str]:
    # Python's \w excludes combining marks: without them "cafe" would be found inside a decomposed "café",
    # and most words in Devanagari would be split.
    marks = "".join(
        re.escape(chr(code))
        for code in range(0x300, min(0x20000, sys.maxunicode))
        if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me")
    )
    letter = rf"(?:[^\W_]|[{marks}\u200c\u200d])"
    return re.compile(rf"{letter}+(?:['’_]+{letter}+)*")


@functools.cache
def _pattern(kind: WordKind) -> re.Pattern[str]:
    if kind == "letters":
        return _letters()
    if kind == "spaces":
        return re.compile(r"[^\s\ud800-\udfff]+")
    raise UsageError(f"unknown kind of words {kind!r}", fix=" or ".join(WORD_KINDS))


@functools.lru_cache(maxsize=1 << 16)
def folded(word: str, kind: WordKind = "letters") -> str:
    """A word's form for comparison: one word, which folds to itself; empty if there is no such form.

    Args:
        word: the word as written.
        kind: the kind of words.
    """
    if word.isascii():
        return word.lower()
    # Some signs become several words in the compatible form ("¼" is 1⁄4); they keep their own form.
    for form in (_folded("NFKC", word), _folded("NFC", word)):
        if _pattern(kind).fullmatch(form) and form in (_folded("NFKC", form), _folded("NFC", form)):
            return form
    return ""


def _folded(normal: Literal["NFC", "NFKC"], word: str) -> str:
    plain = unicodedata.normalize(normal, word.replace("’", "'")).casefold()
    return unicodedata.normalize(normal, plain)


def runs(text: str, kind: WordKind = "letters") -> Iterator[list[Word]]:
    """The runs of a text in order, in which phrases may occur.

    Args:
        text: any text.
        kind: the kind of words.
    """
    between = _LIGHT if kind == "letters" else _BLANKS
    run: list[Word] = []
    for found in _pattern(kind).finditer(text):
        form = folded(found[0], kind)
        start, end = found.span()
        if run and not (form and between.fullmatch(text, run[-1].end, start)):
            yield run
            run = []
        if form:
            run.append(Word(start, end, form))
    if run:
        yield run


def phrase(text: str, kind: WordKind = "letters") -> tuple[str, ...]:
    """The words of a phrase in their form for comparison; empty if it is not one run and so can never match.

    Args:
        text: the phrase.
        kind: the kind of words.
    """
    found = list(runs(text, kind))
    return tuple(word.form for word in found[0]) if len(found) == 1 else ()
