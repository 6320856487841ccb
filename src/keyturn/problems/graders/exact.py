r"""The whole completion is the answer, compared as text.

Strict: the completion (after a closed thought) equals the gold answer when both are in Unicode form NFC,
without zero-width characters, with every run of white space as one space; case and punctuation count. Lenient:
the last box or answer tag, else the last non-empty line, without a leading ``answer:`` or ``the answer is``,
without quotes, Markdown stars, ``\text{…}``, brackets around a single letter and a full stop, ignoring case.
"""

from __future__ import annotations

import re
import unicodedata

from keyturn.problems.graders.boxes import last_box
from keyturn.problems.graders.dress import NOTHING, bare
from keyturn.problems.graders.extraction import OneByOne, TextGrader
from keyturn.problems.graders.words import after_thinking

_LEAD = re.compile(r"(?:(?:the|final|my)\s+){0,3}answer\s*(?:is|:|=)\s*:?\s*", re.IGNORECASE)
_TAG = re.compile(r"<(answer|final_answer|final)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_UPRIGHT = re.compile(r"\\text\s*\{([^{}]*)\}")
_LETTER = re.compile(r"\(([A-Za-z])\)")
_LONGEST = 2000
"""Characters of an answer that is freed of its dress."""
_NOTHING = dict.fromkeys(map(ord, NOTHING))
_DRESS = "*_`'\"“”‘’ "


def plain(text: str) -> str | None:
    """A text in form NFC, without zero-width characters, with collapsed white space; None if nothing is
    left."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_NOTHING)
    return " ".join(text.split()) or None


def whole(text: str) -> str | None:
    """The strict extraction: everything after a closed thought."""
    return plain(after_thinking(text))


def loose(text: str) -> str | None:
    """The lenient extraction: the last box or tag, else the last line, without fonts and wrappers."""
    text = after_thinking(text).strip() or text.strip()
    tags = _TAG.findall(text) if "</" in text else []
    found = last_box(text) or (tags[-1][1] if tags else text.rsplit("\n", 1)[-1])
    if len(found) > _LONGEST:
        return plain(found)
    line = _LEAD.sub("", found.strip(_DRESS), count=1)
    line = _UPRIGHT.sub(r"\1", bare(line)).strip(_DRESS).rstrip(".!").strip(_DRESS)
    return plain(_LETTER.sub(r"\1", line) if len(line) == 3 else line)


def same_text(gold: str, answer: str) -> float:
    """1 if both are the same text."""
    return float(gold == answer)


def same_folded(gold: str, answer: str) -> float:
    """1 if both are the same text, ignoring case and a final full stop."""
    return float(gold.casefold().rstrip(".!") == answer.casefold())


EXACT = TextGrader(
    name="exact/2",
    strict=whole,
    lenient=loose,
    gold=plain,
    compare=OneByOne(same_text),
    compare_lenient=OneByOne(same_folded),
)
