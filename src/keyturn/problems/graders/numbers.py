"""A quantity written as text, as an exact rational number.

These forms count (anything else is not a number, and no number is ever guessed):

* ASCII digits, or their full-width forms (``１２`` is 12); digits of other scripts do not count.
* Thousands in groups of three with commas: ``1,000`` and ``1,000.5``. ``1,5``, ``1.000,5`` and ``10 000``
  are not numbers, since countries read them differently.
* Decimals (``.5``, ``5.``, ``5.0``), exponents of at most three digits (``1e309`` is exact, not infinite),
  fractions ``3/4`` and ``\\frac{3}{4}``, mixed numbers ``1 1/2``, and the signs ``½ ¾ …``. A fraction with a
  zero denominator is not a number. ``-0`` is 0.
* A sign (``-``, ``+`` or ``−``) and a currency sign (``$ £ € ¥ ₹``) before it.
* A unit after it: ``%``, a currency sign or up to 48 characters of words without digits, except for small
powers
  (``12 cm^2``, ``m s^{-1}``, ``^\\circ``); or the three letters of a currency before it (``USD 18``). The unit
  is removed, so ``50%`` is 50 (and not 0.5), and ``18 eggs per day`` is 18. A word that changes the value or
  adds a second one (``million``, ``dozen``, ``half``, ``or``, ``to``, ``and``, ``plus``, ``pi`` …) is not a
  unit, and the text is not a number.
* The wrappers of :mod:`keyturn.problems.graders.dress` around it (``$…$``, ``\\boxed{…}``, ``**…**``, ``\\,``…)
  and a full stop or an exclamation mark at its end.
* No arithmetic: ``0.1+0.2`` and ``2**3`` are not numbers, nor is a text of more than 120 characters.

Equality is exact: 0.333 is not 1/3.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from keyturn.problems.graders.dress import bare
from keyturn.problems.graders.markers import last_match

MAX_LENGTH = 120
"""Characters of a quantity; beyond, it is none."""

_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
_NO_UNIT = frozenset(
    {"hundred", "hundreds", "thousand", "thousands", "million", "millions", "billion", "billions", "trillion",
     "trillions", "dozen", "dozens", "score", "k", "M", "mn", "mil", "bn", "half", "halves", "third", "thirds",
     "quarter", "quarters", "and", "or", "to", "plus", "minus", "times", "over", "by", "from", "than", "not",
     "pi", "e", "i", "x", "squared", "cubed", "sqrt", "vs", "versus", "but", "else", "maybe", "either",
     "through", "until"}
)  # fmt: skip
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})++|[0-9]++)"
_VALUE = (
    rf"(?:(?P<whole>{_WHOLE})\s+(?P<top>[0-9]++)/(?P<bottom>[0-9]++)"
    rf"|(?P<numerator>{_WHOLE})\s*/\s*(?P<denominator>{_WHOLE})"
    rf"|(?P<decimal>(?:{_WHOLE}(?:\.[0-9]++)?|\.[0-9]++)(?:[eE][+-]?[0-9]{{1,3}}(?![0-9]))?))"
)
_MONEY = r"(?:[A-Z]{0,3}[$£€¥₹]|(?:USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD)\b|Rs\.?(?![a-z]))"
_POWER = (
    r"(?<![^\W\d_])(?:[mckd]?m|[kμ]?g|in|inch(?:es)?|ft|feet|foot|yds?|yards?|mi|miles?|s|sec|seconds?|h|hours?|units?"
    r"|(?:centi|kilo|milli)?met(?:er|re)s?)\s*\^\s*(?:\{\s*-?[1-4]\s*\}|-?[1-4])(?![0-9])"
)
_UNIT = rf"\s*(?:{_POWER}|[^\d<>=*^|\\+~&]){{0,48}}"
_QUANTITY = re.compile(rf"(?P<sign>[+-]?)\s*(?:{_MONEY}\s*)?(?P<sign2>[+-]?){_VALUE}(?P<unit>{_UNIT})")
_PLAIN = re.compile(r"-?[0-9]{1,18}")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_DEGREE = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])")
_UNIT_WORDS = re.compile(r"[^\W\d_]+")
# A number inside a sentence; a minus sign belongs to it unless something stands directly before.
_IN_TEXT = re.compile(
    r"(?<![\w.)\]])[-−]?[$£€¥₹]?(?=[.\d])(?:[0-9０-９]++(?:,[0-9]{3})*+(?:\.[0-9]++)?|\.[0-9]++)(?:/[0-9]++)?"
    r"|[0-9]++(?:,[0-9]{3})*+(?:\.[0-9]++)?"
)


def quantity(text: str) -> Fraction | None:
    """The value of a text that is exactly one quantity, or None."""
    return None if len(text) > MAX_LENGTH else _quantity(text)


@lru_cache(maxsize=1 << 16)
def _quantity(text: str) -> Fraction | None:
    if text.isascii() and _PLAIN.fullmatch(text):
        return Fraction(int(text))
    match = _QUANTITY.fullmatch(_plain(text))
    if match is None or (match["sign"] and match["sign2"]):
        return None
    unit = match["unit"]
    if any(word in _NO_UNIT or word.lower() in _NO_UNIT for word in _UNIT_WORDS.findall(unit)):
        return None
    if unit.lstrip() and not re.match(r"\s*(?:[%°^(/'\"$£€¥₹]|[^\W\d_])", unit):
        return None
    value = _value(match)
    if value is None:
        return None
    return -value if "-" in (match["sign"], match["sign2"]) else value


def is_quantity(text: str) -> bool:
    """Whether a text is exactly one quantity."""
    return quantity(text) is not None


def last_number(text: str) -> str | None:
    """The last number in a text, as written there, or None; the lenient extraction."""
    last = last_match(_IN_TEXT, text)
    if last is None or len(last[0]) <= MAX_LENGTH:
        return None if last is None else last[0]
    return next((one for one in reversed(_IN_TEXT.findall(text)) if len(one) <= MAX_LENGTH), None)


def same_number(gold: str, answer: str) -> float:
    """1 if both are the same quantity, 0 if not, NaN if the gold answer is not a quantity."""
    want = quantity(gold)
    if want is None:
        return float("nan")
    return float(quantity(answer) == want)


def _value(match: re.Match[str]) -> Fraction | None:
    def number(name: str) -> Fraction:
        return Fraction(match[name].replace(",", ""))

    if match["whole"] is not None:
        if int(match["bottom"]) == 0:
            return None
        return number("whole") + Fraction(int(match["top"]), int(match["bottom"]))
    if match["numerator"] is not None:
        bottom = number("denominator")
        return None if bottom == 0 else number("numerator") / bottom
    return number("decimal")


def _plain(text: str) -> str:
    """The text without LaTeX and Markdown markup."""
    text = bare(text)
    for sign, ascii_form in _VULGAR.items():
        if sign in text:
            text = text.replace(sign, f" {ascii_form}")
    if "\\" in text:
        text = _FRACTION.sub(r" \1\2/\3\4", text.replace("\\$", "$").replace("\\%", "%"))
        text = _DEGREE.sub("°", re.sub(r"\\text\s*\{([^{}]*)\}", r" \1", text))
    return bare(text.strip()).removesuffix("!").strip()
