"""The whole completion is the answer, compared as text.

Strict: the completion equals the gold answer once both are in Unicode form NFC and every run of white
space is one space; case and punctuation count. Lenient: the last line that is not empty, without a
leading ``answer:`` or ``the answer is``, without quotes, Markdown stars and a full stop, case aside.
"""

from __future__ import annotations

import re
import unicodedata

from keyturn.problems.graders.extraction import TextGrader, one_by_one

_LEAD = re.compile(r"(?:(?:the|final|my)\s+){0,3}answer\s*(?:is|:|=)\s*:?\s*", re.IGNORECASE)
_DRESS = "*_`'\"“”‘’ "


def plain(text: str) -> str | None:
    """Normal form of a text (NFC, white space collapsed), None where nothing is left."""
    return " ".join(unicodedata.normalize("NFC", text).split()) or None


def last_line(text: str) -> str | None:
    """The last line without its dress, or None."""
    line = text.strip().rsplit("\n", 1)[-1].strip(_DRESS)
    return plain(_LEAD.sub("", line, count=1).strip(_DRESS).rstrip(".!").strip(_DRESS))


def same_text(gold: str, answer: str) -> float:
    """1 where both are the same text."""
    return float(gold == answer)


def same_folded(gold: str, answer: str) -> float:
    """1 where both are the same text, case and a final full stop aside."""
    return float(gold.casefold().rstrip(".!") == answer.casefold())


EXACT = TextGrader(
    name="exact/1",
    strict=plain,
    lenient=last_line,
    gold=plain,
    compare=one_by_one(same_text),
    compare_lenient=one_by_one(same_folded),
)
