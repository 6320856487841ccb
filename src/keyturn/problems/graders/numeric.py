"""The answer is one number; see :mod:`keyturn.problems.graders.numbers` for what is a number.

Strict: the last line that is not empty is one quantity and nothing else, after an optional ``A:``,
``Answer:``, ``(The) (final) answer is``, ``=`` or ``####``. Lenient: the last number anywhere in the text.
A list of candidates is no quantity; equality is exact.
"""

from __future__ import annotations

import re

from keyturn.problems.graders.extraction import TextGrader, one_by_one
from keyturn.problems.graders.numbers import MAX_LENGTH, last_number, quantity, same_number

_LEAD = re.compile(
    r"(?:so,?\s+|thus,?\s+|therefore,?\s+)?(?:(?:(?:the|final|my)\s+){0,3}answer\s*(?:is|:|=)\s*:?|a:|=|####)\s*",
    re.IGNORECASE,
)


def last_quantity(text: str) -> str | None:
    """The last line where it is one quantity, else None."""
    line = text.strip().rsplit("\n", 1)[-1].strip()
    if len(line) > 2 * MAX_LENGTH:
        return None
    line = _LEAD.sub("", line.strip("* "), count=1).strip()
    return line if quantity(line) is not None else None


def gold_number(text: str) -> str | None:
    """A gold answer that is a quantity, or ends in ``####`` and one; else None (ungraded)."""
    answer = text.rsplit("####", 1)[-1].strip()
    return answer if quantity(answer) is not None else None


NUMERIC = TextGrader(
    name="numeric/1",
    strict=last_quantity,
    lenient=last_number,
    gold=gold_number,
    compare=one_by_one(same_number),
    form="{work}\n{answer}",
)
