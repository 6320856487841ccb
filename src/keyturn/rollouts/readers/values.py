"""Single values of a record: verdicts, gold answers, identities, numbers of draws."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from keyturn.core.errors import InputError

_WORDS: Mapping[str, float] = {
    **dict.fromkeys(
        ("c", "correct", "true", "t", "yes", "y", "right", "pass", "passed", "success", "✓", "✔", "✅"), 1.0
    ),
    **dict.fromkeys(
        ("i", "incorrect", "false", "f", "no", "n", "wrong", "fail", "failed", "failure", "✗", "✘", "❌"), 0.0
    ),
    # Inspect's letters are C, P (half), I and N (no answer, which counts 0).
    **dict.fromkeys(("p", "partial", "partially correct"), 0.5),
    "noanswer": 0.0,
    **dict.fromkeys(("", "nan", "none", "null", "<na>", "n/a", "ungraded"), math.nan),
}
"""Spellings of verdicts, in lower case."""
_CUT = frozenset(
    {"length", "max_tokens", "model_length", "max_new_tokens", "max_length", "max_output_tokens", "token_limit"}
    | {"context_length", "true", "yes", "1", "1.0"}
)
LARGEST_DRAW = 2**31


def number_of(value: Any) -> float | None:
    """A verdict or reward as a number: 1 right, 0 wrong, NaN ungraded; None if it is neither."""
    if isinstance(value, Mapping):
        return number_of(value["value"]) if "value" in value else None if value else math.nan
    if value is None:
        return math.nan
    if isinstance(value, str):
        word = value.strip().lower()
        return _WORDS[word] if word in _WORDS else _parsed(word)
    if isinstance(value, bool | int | float | Decimal):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, Sequence) and len(value) < 2:
        return number_of(value[0]) if value else math.nan
    return None


def _parsed(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def verdict_of(where: str, value: Any, success_at: float) -> float:
    """A verdict or reward as 1, 0 or NaN.

    Raises:
        InputError: a reward is neither 0 nor 1 without a threshold, or infinite, or the value is not a verdict.
    """
    number = number_of(value)
    if number is None:
        raise InputError(
            f"{where}: {str(value)[:40]!r} is not a verdict", fix="name another column: --columns.success NAME"
        )
    if math.isnan(number):
        return math.nan
    if math.isinf(number):
        raise InputError(f"{where}: an infinite reward", fix="correct the file")
    if not math.isnan(success_at):
        return float(number >= success_at)
    if number not in (0.0, 1.0):
        shown = f"{value!r} ({number:g})" if isinstance(value, str) else f"{number:g}"
        raise InputError(
            f"{where}: the reward {shown} is neither 0 nor 1",
            fix="say from which reward on a completion counts as right: --columns.success-at 1",
        )
    return number


def is_cut(value: Any) -> bool:
    """Whether a column of truncation says that a completion was cut at its limit."""
    return str(value).rsplit(".", 1)[-1].lower() in _CUT if isinstance(value, str) else value in (True, 1)


def alternatives(value: Any) -> list[Any]:
    """The gold answers in one field, all equally right: a list's entries, else the value itself."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        given = [one for one in value if one is not None]
        if all(isinstance(one, str | bool | int | float | Decimal) for one in given) or len(given) == 1:
            return given or [None]
    return [value]


def as_gold(value: Any) -> str:
    """A gold or extracted answer as text, ``""`` if there is none; 5.0, which a table made of 5, is ``5``."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float | Decimal) and not isinstance(value, bool):
        return plain_number(value)
    return json.dumps(value, default=str)


def composed(text: str) -> str:
    """The same text in Unicode form NFC, since keyboards and file systems compose accents differently."""
    return unicodedata.normalize("NFC", text)


def as_compared(text: str) -> str:
    """A text in the form for comparison: composed, and without white space differences."""
    return " ".join(composed(text).split())


def same_gold(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two sets of gold answers are equal, ignoring white space and the spelling of numbers."""
    return {_gold_key(gold) for gold in first} == {_gold_key(gold) for gold in second}


def _gold_key(gold: str) -> str | Decimal:
    text = as_compared(gold)
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() else text


def key_of(value: Any) -> str | None:
    """The identity of a problem as text, None if there is none; 1 equals the 1.0 that a table made of it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float | Decimal):
        return plain_number(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def plain_number(value: float | Decimal) -> str:
    """A number without trailing zeros after its decimal point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)


def whole(value: Any) -> int | None:
    """A non-negative whole number, such as that of a draw; else None."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if 0 <= number < LARGEST_DRAW and number == int(number) else None
