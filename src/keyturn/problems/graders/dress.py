r"""One normaliser of an answer's look: spacing, fonts and wrappers, which never change its value.

Removed or made plain, wherever it occurs:

* full-width forms (``１２``, ``，``), Unicode spaces and minus signs, zero-width characters;
* TeX spacing (``\, \; \: \! \  ~ \quad \hspace{…}``…), sizes and styles (``\displaystyle``, ``\large``,
  ``\left``);
* fonts and colours (``\mathbf \boldsymbol \textbf \underline \color{red} \textcolor{red}{…}``…); upright text
  becomes ``\text{…}``; ``\phantom``, ``\tag`` and ``\label`` are removed with their content.

Removed around the whole: ``$…$ \(…\) \[…\] **…** __…__ `…` {…} \boxed{…}``, a leading ``=``, trailing full
stops, commas, semicolons, colons and ``\checkmark \blacksquare \square``. A factorial's ``!`` stays.

TeX spaces between groups of three digits are thousands (``9\,500``); any other becomes one space, so that
``7,\;7`` stays a list and ``1\,2`` is never 12.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
NOTHING = (
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)
"""Invisible characters."""
_CHARACTERS: dict[int, str | None] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, _SPACES), " "),
    **dict.fromkeys(map(ord, NOTHING), None),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2212\ufe63"), "-"),
}

_SPACE = (
    r"(?<!\\)\\(?:[,;:>! ]|(?:quad|qquad|enspace|enskip|thinspace|medspace|thickspace"
    r"|neg(?:thin|med|thick)space|hfill?|space|nobreakspace|newline|linebreak|displaystyle|textstyle|scriptstyle|scriptscriptstyle|limits"
    r"|nolimits|tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge|bf|bfseries|it"
    r"|itshape|rm|sf|tt|sl|em|centering|noindent|relax)(?![A-Za-z])"
    r"|[hmv]space\*?\s*\{[^{}]*\}|[mh]?skip\s*-?[\d.]+\s*[a-z]{2}|kern\s*-?[\d.]+\s*[a-z]{2})|~"
)
_JOINT = r"(?:\s*,(?:\\,|\s|~)*\\!(?:\s|~)*|\{,\}\s*|\{\\[,;: !]\}|(?:\\[,;: !]|~)+)"
_THOUSANDS = re.compile(
    rf"(?<![\d.])(?<!(?<!\\),)\d{{1,3}}(?:{_JOINT}\d{{3}}(?!\d))+|(?<=\d\.)\d{{3}}(?:\\,\d{{3}})*\\,\d{{1,3}}(?!\d)"
)
_BARE_FONT = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|mathsf|mathit|mathtt|mathrm|textbf|textit|textrm|underline)(?![A-Za-z{\s])"
    r"|\\(?:mathbf|boldsymbol|bm|mathsf|mathit|mathtt|mathrm|textbf|textit|textrm|underline)\s+(?![{\s])"
)
_SPACING = re.compile(_SPACE)
_SIZES = re.compile(r"\\(?:left|right|middle)(?![A-Za-z])\.?|\\[bB]igg?[lrm]?(?![A-Za-z])")
_HIDDEN = re.compile(
    r"\\(?:[hv]?phantom|tag|label|hypertarget|textcolor|color|colorbox|fcolorbox|cellcolor)\*?\s*(?=[{\[])"
)
_FONT = re.compile(
    r"\\(mathbf|boldsymbol|bm|pmb|mathsf|mathit|mathtt|mathnormal|underline|underbar|overbar|uline|emph|ensuremath"
    r"|mathrm|operatorname|text|textbf|textit|textrm|textsf|texttt|textnormal|textup|textsc|mbox|hbox)\*?\s*(?=\{)"
)
_UPRIGHT = frozenset(
    {"mathrm", "operatorname", "text", "textbf", "textit", "textrm", "textsf", "texttt", "textnormal", "textup",
     "textsc", "mbox", "hbox"}
)  # fmt: skip
_PUNCTUATION = re.compile(r"\{([:.+=/<>-])\}")
_TAIL = re.compile(r"(?:[\s.,;:]|\\(?:checkmark|blacksquare|square|qed|Box)(?![A-Za-z])|\\+)+$")
_AROUND = (
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("__", "__"),
    ("`", "`"),
    ("{", "}"),
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_TEXT = re.compile(r"\\text\s*(?=\{)")
_DEEPEST = 40
"""Maximum number of fonts and wrappers that are removed from an answer."""


def characters(text: str) -> str:
    """Text with full-width forms, spaces, minus signs and zero-width characters made plain."""
    return text if text.isascii() else text.translate(_CHARACTERS)


@lru_cache(maxsize=1 << 15)
def bare(text: str) -> str:
    """An answer without spacing, fonts and wrappers."""
    text = characters(text)
    if "\\" in text or "~" in text or "{" in text:
        text = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text)
        text = _fonts(_SIZES.sub("", text))
        text = _BARE_FONT.sub(" ", text)
        text = _SPACING.sub(lambda found: "" if found[0] == "\\!" else " ", text)
        text = _PUNCTUATION.sub(r"\1", text)
    return _unwrapped(" ".join(text.split()))


def closing(text: str, start: int) -> int:
    """Where the group that opens at ``start`` closes, or -1 if it never does; ``\\{`` does not count."""
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1


def _unwrapped(text: str) -> str:
    for _ in range(_DEEPEST):
        before = text
        text = _TAIL.sub("", text.strip()) if len(text) > 1 else text
        text = _without_wrapper(text.removeprefix("=").lstrip() if text[1:] else text)
        if text == before:
            break
    return text


def _without_wrapper(text: str) -> str:
    box = _BOXED.match(text)
    if box is not None and closing(text, box.end()) == len(text) - 1:
        return text[box.end() + 1 : -1].strip()
    words = _TEXT.match(text)
    if words is not None and closing(text, words.end()) == len(text) - 1:
        inner = text[words.end() + 1 : -1].strip()
        # Formulas in upright letters are still formulas.
        return inner if re.search(r"\\[A-Za-z]|[=^_]", inner) else text
    for first, last in _AROUND:
        inner = text[len(first) : -len(last)]
        if not (text.startswith(first) and text.endswith(last) and len(text) > len(first) + len(last)):
            continue
        if first == "{":
            if closing(text, 0) == len(text) - 1:
                return inner.strip()
        elif first not in inner and not (last == "$" and inner.endswith("\\")):
            return inner.strip()
    return text


def _fonts(text: str) -> str:
    """The text without colours, hidden parts and fonts; upright words become ``\\text{…}``."""
    for _ in range(_DEEPEST):
        found = _HIDDEN.search(text)
        if found is None:
            break
        text = text[: found.start()] + " " + _after_arguments(text, found)
    pieces: list[str] = []
    at = 0
    for _ in range(_DEEPEST):
        found = _FONT.search(text, at)
        end = closing(text, found.end()) if found is not None else -1
        if found is None or end < 0:
            break
        content = text[found.end() + 1 : end]
        pieces.append(text[at : found.start()])
        pieces.append(_in_font(found[1], content, "".join(pieces).rstrip()))
        at = end + 1
    return "".join(pieces) + text[at:]


def _after_arguments(text: str, found: re.Match[str]) -> str:
    """The text after a command whose arguments are hidden: all of them, or those before the coloured text."""
    at = found.end()
    for _ in range(2 if "fcolorbox" in found[0] else 1):
        if text[at : at + 1] == "[":
            at = text.find("]", at) + 1 or len(text)
        end = closing(text, at) if text[at : at + 1] == "{" else -1
        if end < 0:
            break
        at = end + 1
    return text[at:]


def _in_font(font: str, content: str, before: str) -> str:
    """The content of a font command, as it is written after ``before``."""
    inner = _fonts(content)
    plain = inner.strip()
    # Digits, signs and the constants e, i, d are mathematics in any font.
    if (
        font not in _UPRIGHT
        or re.fullmatch(r"(?:[\d\s.,+*/=()$%-]|\\[$%])*", plain)
        or (plain in ("e", "i", "d") and (font[0] == "m" or before[-1:].isdigit()))
    ):
        return (
            f"{{{inner}}}" if before.endswith(("^", "_", "}")) or re.search(r"\\[A-Za-z]+$", before) else inner
        )
    unit = re.fullmatch(r"([\d.,]*\d)\s+([A-Za-z(][^\d,;]*)", plain)
    if unit is not None and not re.search(r"\b(?:or|and)\b", unit[2]):
        return rf"{unit[1]}\text{{ {unit[2]}}}"
    nested = re.match(r"\\text\s*\{", plain)
    if nested is not None and closing(plain, nested.end() - 1) == len(plain) - 1:
        return plain
    if font == "operatorname" and re.fullmatch(r"[A-Za-z]+", plain):
        return rf"\operatorname{{{plain}}}"
    return rf"\text{{{inner}}}"
