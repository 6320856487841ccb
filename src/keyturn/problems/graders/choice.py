r"""The answer is the letter of an option: ``B``, ``(B)``, ``B.``, ``B) 12 metres``, ``\text{(B)}``.

Strict: the last marker counts (a box, an answer tag, ``The answer is (B)``, ``Answer: B``, or the whole last
line if it is a single letter; see :mod:`keyturn.problems.graders.markers`). The text of an option may follow
its letter after ``)``, ``.`` or ``:``. With a second option letter it is a list and not an answer. A lower-case
letter counts only alone. Lenient: the last capital letter from A to J that is in brackets or alone (``I`` and
``A`` only if they are not words of a sentence).

Gold answers are single letters, in brackets or not; any other gold answer is *ungraded*.
"""

from __future__ import annotations

import re

from keyturn.problems.graders.dress import bare
from keyturn.problems.graders.extraction import OneByOne, TextGrader
from keyturn.problems.graders.markers import Kind, last_match, marked_answer, own_problems, undressed
from keyturn.problems.graders.words import after_thinking

_LONGEST = 400
_SECOND = re.compile(r"[).:]\s*\S*\w")
_UPRIGHT = re.compile(r"\\text\s*\{([^{}]*)\}")
_NAME = re.compile(
    r"(?:(?:option|choice)\s+)?(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])\s*(?![\w'’]))",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\s*(?:[).:]\s|\s*[-–—:]\s)")
_OTHER = re.compile(r"\([A-Za-z]\)|\b[A-Z][).:](?=\s|$)|\b(?:or|and)\s+\(?[A-Z]\b")
_GOLD = re.compile(r"\(?\s*([A-Z])\s*[).]?")
_ALONE = re.compile(
    r"[A-J](?:(?<=\(.)(?=\))|(?<![\w'’(].)(?:(?<=[B-HJ])(?![\w'’)])|(?=\s*(?:[.,;:)*]|$))))", re.MULTILINE
)


def letter(text: str) -> str | None:
    """The letter of a text that is exactly one option, or None."""
    if len(text) > _LONGEST:
        return None
    plain = bare(_UPRIGHT.sub(r"\1", bare(text))).strip("*_\"' ")
    found = _NAME.match(plain)
    if found is None:
        return None
    name, rest = next(group for group in found.groups() if group), plain[found.end() :]
    if not rest.strip(".)*_ :"):
        return name.upper()
    bracketed = found[1] or found[2]
    if not (bracketed or _TEXT.match(rest)) or not name.isupper() or _OTHER.search(rest):
        return None
    return name


def is_letter(text: str) -> bool:
    """Whether a text names one option."""
    return letter(text) is not None


def is_letter_alone(text: str) -> bool:
    """Whether a text is a letter without its option's text, since a copy of the options ends with the last
    one's."""
    return (
        len(re.findall(r"\w+", _UPRIGHT.sub(r"\1", text))) <= 2 and not _SECOND.search(text) and is_letter(text)
    )


_OPTION = Kind(reads=is_letter, last_line=is_letter_alone, hashes=False, nouns=("answer", "option", "choice"))


def marked_letter(text: str) -> str | None:
    """The letter at the last marker, else None."""
    said = after_thinking(text).strip()
    answer = marked_answer(text, _OPTION)
    if answer is None and "\n" not in said:
        answer = undressed(said)
    return None if answer is None else letter(answer)


def loose_letter(text: str) -> str | None:
    """The last option letter anywhere in the first problem that is answered."""
    for words in (after_thinking(text), text):
        for part in own_problems(words):
            found = last_match(_ALONE, part)
            if found is not None:
                return found[0]
    return None


def gold_letter(text: str) -> str | None:
    """A gold answer that is the letter of an option; else None (ungraded)."""
    found = _GOLD.fullmatch(text.strip())
    return None if found is None else found[1]


def _same(gold: str, answer: str) -> float:
    return float(gold == answer)


CHOICE = TextGrader(
    name="choice/1",
    strict=marked_letter,
    lenient=loose_letter,
    gold=gold_letter,
    compare=OneByOne(_same),
    form="",  # solved sums, which show a form, have no options
)
