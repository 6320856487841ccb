"""Reading a completion's text for rewards: patterns, text after a marker, and equality of answers.

Ours. Two answers are equal if both are one quantity (``keyturn.problems.graders.numbers``) of the same value,
or if they are equal texts after collapsing white space. This is an equivalence relation, as a vote needs;
math-verify's equality of formulas is not, so ``2x`` and ``x+x`` are two answers here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from keyturn.core.errors import UsageError
from keyturn.problems.graders.numbers import quantity


def compiled(pattern: str, field: str) -> re.Pattern[str]:
    """A pattern of a config.

    Raises:
        UsageError: it is empty or not a regular expression; the message names the field.
    """
    if not pattern:
        raise UsageError(f"{field} is empty, which would match every text", fix="name what to look for")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"{field} {pattern!r} is not a regular expression: {error}", fix="re.escape a literal text"
        ) from error


def after(text: str, marker: str) -> str | None:
    """The text after the last marker, or None; the whole text if the marker is empty."""
    if not marker:
        return text
    _, found, rest = text.rpartition(marker)
    return rest if found else None


def form(answer: str) -> str:
    """A text that is the same for equal answers; "" for no answer."""
    value = quantity(answer)
    return " ".join(answer.split()) if value is None else str(value)


def modes(forms: Iterable[str]) -> list[str]:
    """The most frequent answers, sorted; an empty answer does not count, so there may be none."""
    counts = Counter(one for one in forms if one)
    most = max(counts.values(), default=0)
    return sorted(one for one, count in counts.items() if count == most)
