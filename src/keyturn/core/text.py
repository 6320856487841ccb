"""Safe display of text from outside: a model may write anything.

All shown text of a completion, a prompt, a file name or a tokenizer's vocabulary passes through this file.
Nothing is interpreted and nothing is silently lost: characters that a terminal or a browser would act upon
become visible signs.

* :func:`visible` for a terminal, :func:`one_line` for a table in one, :func:`visible_tokens` for HTML (built
  with text nodes), :func:`markdown_cell` for Markdown. For rich, pass it on as ``Text``, never as markup.

Every function is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

MAX_LINE = 2_000
"""Maximum number of characters shown of a line; more are useless in a terminal."""

MAX_MARKS = 8
"""Maximum number of combining marks shown on one letter; real scripts have fewer."""

# A control sequence is one thing: CSI with its parameters and final byte; a string (OSC, DCS, SOS, PM,
# APC) if its terminator is in the same line, else only its introducer; any other escape with its letter.
# The 8-bit C1 forms count as well. Possessive quantifiers keep matching linear in time.
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]{0,64}+[ -/]{0,8}+[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])(?:[^\x07\x1b\x90\x98\x9b-\x9f\n]{0,4096}+(?:\x07|\x1b\\|\x9c))?"
    r"|\x1b[ -/]{0,8}+[0-Z\\`-~]?"
)
# Controls and other invisible characters that have an effect: bidirectional controls, zero-width characters,
# line and paragraph separators, invisible operators, fillers, variation selectors, musical controls,
# tags, lone surrogates, non-characters.
_CHIP = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_STOP = re.compile(f"{_SEQUENCE}|{_CHIP}")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "\u2421"}


def visible(text: str, *, max_line: int = MAX_LINE) -> str:
    """Text that is safe to print: it has no escape, control, bidirectional or invisible characters.

    Newline and tab stay. Other C0 controls become their pictures (``␛``, ``␀``, ``␍``), DEL becomes ``␡``. A
    whole escape sequence becomes one chip such as ``⟨ESC[2J⟩``, and any other invisible character a labelled
    chip such as ``⟨U+202E⟩``. Long lines and stacks of combining marks are cut with a note.

    Args:
        text: any text, also with lone surrogates.
        max_line: maximum number of characters shown of a line; 0 for no limit.
    """
    if max_line > 0 and len(text) > max_line:
        text = "\n".join(_cut(line, max_line) for line in text.split("\n"))
    return "".join(piece for piece, _ in visible_tokens(text))


def visible_tokens(text: str) -> list[tuple[str, bool]]:
    """The same for a page: ``(text to show, whether it is a chip)``; neighbours of one kind are not merged.

    A page puts each piece into a separate text node, and a chip into an element that looks like one. Chips
    contain only printable characters. A piece may contain ``<`` and ``&``: it is text, not HTML.
    """
    out: list[tuple[str, bool]] = []
    at = 0
    for match in _STOP.finditer(text):
        if match.start() > at:
            out.extend(_without_stacks(text[at : match.start()]))
        out.append((_chip(match.group()), True))
        at = match.end()
    if at < len(text):
        out.extend(_without_stacks(text[at:]))
    return out


def one_line(text: str, width: int = 120) -> str:
    """Visible text on one line, cut at ``width`` characters; for tables and messages."""
    head = text[: 4 * width + 16].replace("\t", " ").replace("\n", " ⏎ ")
    shown = visible(head, max_line=0)
    return shown if len(shown) <= width and len(head) >= len(text) else shown[: width - 1] + "…"


def markdown_cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, in which nothing acts as Markdown or HTML."""
    line = visible(text).replace("\t", " ").replace("\n", " ⏎ ")
    line = re.sub(r"([\\`*_{}\[\]|~$]|:(?=//)|(?<=www)\.)", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(line: str, limit: int) -> str:
    if len(line) <= limit:
        return line
    return f"{line[:limit]}⟨{len(line) - limit} more characters⟩"


def _chip(found: str) -> str:
    """The chip that is shown instead of a control character or a control sequence."""
    if len(found) == 1:
        code = ord(found)
        return _PICTURES.get(code) or f"⟨U+{code:04X}⟩"
    inside = re.sub(r"[^\x20-\x7e]", lambda m: _PICTURES.get(ord(m[0]), "�"), found[1:25])
    name = "ESC" if found[0] == "\x1b" else f"U+{ord(found[0]):04X} "
    return f"⟨{name}{inside}{'…' if len(found) > 25 else ''}⟩"


def _without_stacks(text: str) -> Iterator[tuple[str, bool]]:
    """Cut runs of combining marks that are longer than any script needs."""
    if text.isascii():
        yield text, False
        return
    kept = 0
    run = 0
    for index, letter in enumerate(text):
        if letter > "\u02ff" and unicodedata.category(letter) in ("Mn", "Me", "Mc"):
            run += 1
            continue
        if run > MAX_MARKS:
            yield text[kept : index - run + MAX_MARKS], False
            yield f"⟨{run - MAX_MARKS} combining marks⟩", True
            kept = index
        run = 0
    if run > MAX_MARKS:
        yield text[kept : len(text) - run + MAX_MARKS], False
        yield f"⟨{run - MAX_MARKS} combining marks⟩", True
    else:
        yield text[kept:], False
