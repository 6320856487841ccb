r"""A normal form of answers in LaTeX for comparison.

``normal`` works on one answer: fractions get their braces, Unicode signs (``√ π ≤ ²``…) their commands,
thousands lose their commas, ``1.5e3`` becomes ``1.5 \times 10^{3}``, ``1 1/4`` and ``0.\overline{3}`` become
fractions, ``5 \text{ million}`` a number, and ``x \in`` is removed. ``matched`` works on a gold answer and an
answer together: if one is an inequality and the other an interval, the inequality is written as an interval;
units after both numbers are compared by their powers and removed.

``settled`` decides what needs no algebra: equal text (ignoring white space, but never between digits) is right;
a list is wrong if the gold answer is not one; numbers with different bases, or with a base on one side only,
differ.
"""

from __future__ import annotations

import re
from functools import lru_cache

from keyturn.problems.graders.dress import bare

MAX_ANSWER = 600
"""Characters of an answer that is looked at; the longest gold answer of MATH-500 has 53."""

_FRAC = re.compile(
    r"\\[dtc]?frac(?![A-Za-z])\s*+(\{[^{}]*+\}|\\[A-Za-z]++|\d)\s*+(\{[^{}]*+\}|\\[A-Za-z]++|\d)"
)
_SIGNS = {
    "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "∪": r"\cup ", "∩": r"\cap ",
    "∅": r"\emptyset ", "∈": r"\in ", "°": r"^\circ ", "℃": r"^\circ ", "θ": r"\theta ", "α": r"\alpha ",
    "β": r"\beta ", "λ": r"\lambda ", "ℝ": r"\mathbb{R}", "√": r"\sqrt ", "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⟨": r"\langle ", "⟩": r"\rangle ",
}  # fmt: skip
_SIGN = re.compile("|".join(_SIGNS))
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])")
_INNER_COMMA = re.compile(r"[(\[][^()\[\]]*,")
_SPACED_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_SCIENTIFIC = re.compile(r"(?<![\w.\\])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?\d{1,3})(?![\w.])")
_MIXED = re.compile(r"(-?)\s*(\d+)\s+(?:(\d+)\s*/\s*(\d+)|\\frac\{(\d+)\}\{(\d+)\})")
_REPEATING = re.compile(r"(-?)(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))")
_SCALES = {"hundred": "10^{2}", "k": "10^{3}", "thousand": "10^{3}", "million": "10^{6}", "billion": "10^{9}",
           "trillion": "10^{12}", "dozen": "12"}  # fmt: skip
_SCALED = re.compile(
    r"(.*[\d})])\s*(?:\\text\s*\{\s*(k(?=\s*\})|(?:hundred|thousand|million|billion|trillion|dozen)(?=s?\b))[^{}]*\}"
    r"|\s(hundred|thousand|million|billion|trillion|dozen)s?(?:\s+[a-z]+)?)"
)
_SAID = re.compile(
    r"^\\text\{\s*(?:(?:the|final|my)\s+)*answer(?:\s+is|:)?:?\s*\}|^(?:the\s+)?(?:final\s+)?answer(?:\s+is|:):?\s*",
    re.IGNORECASE,
)
_MEMBER = re.compile(r"^\\?[A-Za-z]+\s*\\in(?![A-Za-z])\s*(?=[(\[\\])")
_RELATIONS = {
    r"\leqslant": r"\le",
    r"\geqslant": r"\ge",
    r"\leq": r"\le",
    r"\geq": r"\ge",
    r"\lt": "<",
    r"\gt": ">",
    "<=": r"\le ",
    ">=": r"\ge ",
}
_RELATION = re.compile(r"\\(?:leqslant|geqslant|leq|geq|lt|gt)(?![A-Za-z])|<=|>=")
_REALS = re.compile(r"\(\s*-\s*\\infty\s*,\s*\+?\s*\\infty\s*\)")
_UNIT = re.compile(
    r"(?<=[\d}).])((?:\s*\(?\\text\{(?P<word>[^{}]*)\}\)?(?:\s*\^\s*(?:\{\s*(?P<power>-?\d)\s*\}|(?P<bare>-?\d)))?)+)$"
)
_VARIABLES = frozenset("abdefijknpqrtuvwxyz")
"""Upright single letters that mean a variable or a constant, not a unit."""
_ANGLE = re.compile(
    r"(?<=[\d}])\s*(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z]))\s*(?:[CF](?![A-Za-z]))?$"
)
_BASE = re.compile(
    r"^([+-]?[0-9A-Fa-f]+(?:\.[0-9A-Fa-f]+)?)\s*_\s*(?:\{\s*(?:\\text\{\s*)?(\w+)\s*\}?\s*\}|(\d))$"
)
_BASE_NAMES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
               "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "sixteen": "16"}  # fmt: skip
_SEVERAL = re.compile(r",|;|&|\\pm|\\mp|\\cup|\\\{|\\\\|\band\b|\bor\b")
_LISTED = re.compile(r"[,;]|\b(?:or|and)\b|\\lor(?![A-Za-z])|\\text\s*\{(?:[^{}]*\s)?\d")
"""Signs of a list, also inside text: ``5 \\text{ or 3}``."""
_HEDGED = re.compile(r"\\text\s*\{[^{}]*\b(?:or|and)\b[^{}]*\d")
"""A second answer inside text, whatever the gold answer is."""
_SUBSCRIPT = re.compile(r"[\d}]\s*_\s*\{?\s*\d")
"""A number with a subscript, which is its base; math-verify ignores it."""
_APART = re.compile(r"\d\s+\d")


@lru_cache(maxsize=1 << 15)
def normal(latex: str) -> str:
    """An answer in LaTeX without fonts and wrappers, in one notation."""
    text = _SAID.sub("", bare(latex), count=1)
    if not text.isascii():
        text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: f"^{{{found[0].translate(_RAISED)}}}", text)
        text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda found: f"_{{{found[0].translate(_LOWERED)}}}", text)
        text = re.sub(r"√\s*(\d+|[A-Za-z])", r"\\sqrt{\1}", text)
        text = _SIGN.sub(lambda found: _SIGNS[found[0]], text)
    text = _FRAC.sub(_braced, text)
    based = _BASE.match(text)
    if based is not None:
        text = based[1] + (f"_{{{_base(text)}}}" if _base(text) else "")
    text = _RELATION.sub(lambda found: _RELATIONS[found[0]] + " ", text)
    text = _MEMBER.sub("", text)
    if not _INNER_COMMA.search(text) and len(_THOUSANDS.findall(text)) == 1:
        joined = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
        text = text if "," in joined else joined
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    text = _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text)
    text = _REPEATING.sub(_fraction_of_repeating, text)
    scaled = _SCALED.fullmatch(text)
    if scaled is not None:
        number = scaled[1].replace("\\$", "")
        number = number if re.fullmatch(r"-?[\d.]+", number) else f"({number})"
        text = rf"{number} \times {_SCALES[scaled[2] or scaled[3]]}"
    mixed = _MIXED.fullmatch(text)
    if mixed is not None:
        top, bottom = int(mixed[3] or mixed[5]), int(mixed[4] or mixed[6])
        text = rf"{mixed[1]}\frac{{{int(mixed[2]) * bottom + top}}}{{{bottom}}}"
    return bare(_REALS.sub(r"\\mathbb{R}", text))


def matched(gold: str, answer: str) -> tuple[str, str]:
    """A gold answer and an answer in normal form, both in the same notation if that changes no meaning."""
    if _relation(gold) != _relation(answer):
        if _relation(answer) and _is_region(gold):
            answer = interval(answer) or answer
        elif _relation(gold) and _is_region(answer):
            gold = interval(gold) or gold
    return _without_unit(gold)[0], _without_unit(answer)[0]


def settled(gold: str, answer: str) -> float | None:
    """The verdict on two normal forms if it needs no mathematics, else None."""
    if squeezed(gold) == squeezed(answer):
        return 1.0
    if len(answer) > MAX_ANSWER:
        return 0.0
    (_, ours), (_, theirs) = _without_unit(gold), _without_unit(answer)
    if ours and theirs and ours != theirs:
        return 0.0
    bases = [_base(gold), _base(answer)]
    if bases[0] != bases[1]:
        return 0.0
    gold, answer = matched(gold, answer)
    if squeezed(gold) == squeezed(answer):
        return 1.0
    for odd in (_SUBSCRIPT, _HEDGED):
        if odd.search(answer) and not odd.search(gold):
            return 0.0
    if _APART.search(answer) and not (_APART.search(gold) or _SEVERAL.search(gold)):
        return 0.0
    lists = _LISTED.search(answer) is not None
    return 0.0 if lists and not _SEVERAL.search(gold) else None


def squeezed(text: str) -> str:
    """Text without white space, except between two digits."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def interval(text: str) -> str | None:
    r"""An inequality in one variable as an interval, ``x<-1 \text{ or } x>2`` as a union; else None."""
    parts = re.split(r"\\text\{\s*or\s*\}|\bor\b|\\lor(?![A-Za-z])", text)
    found = [_interval(part.strip()) for part in parts]
    return None if None in found else r" \cup ".join(part for part in found if part)


def _interval(text: str) -> str | None:
    pieces = re.split(r"(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z]))", text)
    sides = [piece.strip() for piece in pieces[::2]]
    signs = pieces[1::2]
    if not all(sides) or len(signs) not in (1, 2):
        return None
    place = 1 if len(signs) == 2 else (0 if _variable(sides[0]) else 1)
    if not _variable(sides[place]) or any(_variable(side) for i, side in enumerate(sides) if i != place):
        return None
    up = {"<", r"\le"}
    if len(signs) == 2:
        if (signs[0] in up) != (signs[1] in up):
            return None
        if signs[0] not in up:
            sides, signs = sides[::-1], signs[::-1]
        return _ends(sides[0], sides[2], closed=("\\" in signs[0], "\\" in signs[1]))
    closed = "\\" in signs[0]
    below = (signs[0] in up) == (place == 0)
    if below:
        return _ends(r"-\infty", sides[1 - place], closed=(False, closed))
    return _ends(sides[1 - place], r"\infty", closed=(closed, False))


def _ends(low: str, high: str, *, closed: tuple[bool, bool]) -> str:
    left = "[" if closed[0] and "infty" not in low else "("
    right = "]" if closed[1] and "infty" not in high else ")"
    return f"{left}{low},{high}{right}"


def _variable(text: str) -> bool:
    return re.fullmatch(
        r"[A-Za-z]|\\(?:alpha|beta|gamma|theta|lambda|mu|phi|omega)", text
    ) is not None and text not in ("e", "i")


def _relation(text: str) -> bool:
    return re.search(r"[<>]|\\le(?![A-Za-z])|\\ge(?![A-Za-z])", text) is not None


def _is_region(text: str) -> bool:
    return (text[:1] in ("(", "[") and text[-1:] in (")", "]") and "," in text) or "\\cup" in text


def _without_unit(text: str) -> tuple[str, str]:
    """A number without the unit after it, and the powers in that unit."""
    text = _ANGLE.sub("", text)
    found = _UNIT.search(text)
    if found is None or "\\text" in text[: found.start()]:
        return text, ""
    words = re.findall(r"\\text\{([^{}]*)\}", found[1])
    if any(_no_unit(word) for word in words):
        return text, ""
    powers = "".join(re.findall(r"\^\s*\{?\s*(-?\d)", found[1]))
    return text[: found.start()].strip(), powers


def _no_unit(word: str) -> bool:
    word = word.strip(" .")
    return (
        word in _VARIABLES
        or re.search(
            r"\d|\b(?:and|or|to|hundred|dozen|percent|times)\b|[,;=<>]",
            word.replace("^-1", "").replace("^2", ""),
        )
        is not None
    )


def _base(text: str) -> str:
    """The base in which a number is written, ``""`` for an ordinary number."""
    found = _BASE.match(text)
    if found is None:
        return ""
    name = (found[2] or found[3]).lower()
    base = _BASE_NAMES.get(name, name)
    return "" if base == "10" else base


def _braced(match: re.Match[str]) -> str:
    top, bottom = (part if part[0] == "{" else f"{{{part}}}" for part in match.groups())
    return rf"\frac{top}{bottom}"


def _fraction_of_repeating(match: re.Match[str]) -> str:
    sign, whole, fixed, repeated = match[1], match[2] or "0", match[3], match[4] or match[5]
    if len(whole + fixed + repeated) > 60:
        return match[0]
    nines = 10 ** len(repeated) - 1
    top = int(whole + fixed + repeated) - int(whole + fixed)
    return rf"{sign}\frac{{{top}}}{{{nines * 10 ** len(fixed)}}}"
