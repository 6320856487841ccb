"""The answer is one number; :mod:`keyturn.problems.graders.numbers` defines numbers.

Strict: the last marker counts: a box, an answer tag, ``####``, ``A:``, ``(The) (final) answer is``, or the
whole last line if it is exactly one quantity (after an optional ``x =``); see
:mod:`keyturn.problems.graders.markers`. Lenient: the last number anywhere in the text. A list of candidates is
not a quantity. Equality is exact.
"""

from __future__ import annotations

from keyturn.problems.graders.extraction import OneByOne, TextGrader
from keyturn.problems.graders.markers import Kind, marked_answer, own_problems
from keyturn.problems.graders.numbers import is_quantity, last_number, same_number
from keyturn.problems.graders.words import after_thinking

_NUMBER = Kind(reads=is_quantity, last_line=is_quantity)


def last_quantity(text: str) -> str | None:
    """The quantity at the last marker, else None."""
    return marked_answer(text, _NUMBER)


def loose_number(text: str) -> str | None:
    """The last number of the first problem that is answered; a thought is read if nothing follows it."""
    for words in (after_thinking(text), text):
        for part in own_problems(words):
            number = last_number(part)
            if number is not None:
                return number
    return None


def gold_number(text: str) -> str | None:
    """A gold answer that is a quantity or ends in ``####`` and a quantity; else None (ungraded)."""
    answer = text.rsplit("####", 1)[-1].strip()
    return answer if is_quantity(answer) else None


NUMERIC = TextGrader(
    name="numeric/2",
    strict=last_quantity,
    lenient=loose_number,
    gold=gold_number,
    compare=OneByOne(same_number),
    form="{work}\n{answer}",
)
