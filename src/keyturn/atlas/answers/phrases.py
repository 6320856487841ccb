"""Words for numbers, counts and lists in running text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keyturn.core.measurement import Estimate

NUMBER_WORDS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
"""A number's place is the number; 0 as it stands before a noun."""
MOST_DIGITS = 5
"""Decimals at most, where fewer would show an end of an interval upon the bound that it is not upon."""


def shown(number: Estimate, bound: float = math.nan) -> str:
    """A number with its interval: ``.84 [.81, .87]``; more decimals where two would hide what decides.

    Args:
        number: value and ends; an infinite or undefined end is no interval.
        bound: what the interval is held against; an end close to it is shown with more digits.
    """
    if math.isnan(number.value):
        return "undefined"
    if not math.isfinite(number.high - number.low):
        return f"{decimals(number.value, 2)}, without an interval"
    close = any(abs(end - bound) < 0.005 for end in (number.low, number.high))
    digits = 3 if close or number.high - number.low < 0.02 else 2
    ends = (number.low, number.high)
    while digits < MOST_DIGITS and any(end != bound and round(end - bound, digits) == 0 for end in ends):
        digits += 1
    value, low, high = (decimals(x, digits) for x in (number.value, number.low, number.high))
    return f"{value} [{low}, {high}]"


def decimals(value: float, digits: int) -> str:
    """A number without the zero before its point, with a true minus sign: ``−.05``."""
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return f"−{text}" if value < 0 and float(text) else text


def count(number: int, noun: str, plural: str = "") -> str:
    """``three seeds``, ``one base``, ``no record``."""
    word = NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)
    return f"{word} {noun if number in (0, 1) else plural or noun + 's'}"


def word(number: int) -> str:
    """``three``; digits from thirteen on; ``none`` for 0."""
    return "none" if number == 0 else NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)


def listed(items: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def lowered(text: str) -> str:
    """A sentence as a clause: its first letter small, unless it begins a name such as RL."""
    return text if text[:2].isalpha() and text[:2].isupper() else text[:1].lower() + text[1:]


def sentence(text: str) -> str:
    """With a capital letter first and a full stop last."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
