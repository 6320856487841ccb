r"""Boxes in a completion: ``\boxed{…}`` and ``\fbox{…}``, and which of them is the answer.

The last *group* of boxes counts. Boxes with nothing but commas, ``and``, ``or``, dollar signs or white space
between them are one group and mean a list. So a box for every candidate is one (wrong) list and not several
tries. An empty box, an unclosed box (the completion was cut) and no box at all are no answer. Of nested boxes
the innermost counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

BOX = re.compile(r"\\(?:boxed|fbox)\s*+(\{|[^\s\\{}$]*+)")
MOST = 100
"""Boxes of a group; more are no answer."""
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN = re.compile(
    r"[\s$,;.&]*+(?:\\(?:text|mbox|mathrm)\s*+\{\s*+)?(?:and|or)?+(?:\s*+\})?[\s$,;.&\\()\[\]]*+"
)


def boxes(text: str) -> list[tuple[int, int, str | None]]:
    """Every box in the order of its start: ``(start, end, content)``; the content of an unclosed box is
    None."""
    ends: dict[int, int] = {}
    open_braces: list[int] = []
    first = BOX.search(text)
    if first is None:
        return []
    # Braces before the first box close nothing that matters.
    for match in _BRACE.finditer(text, first.start()):
        if match.group() == "{":
            open_braces.append(match.start())
        elif match.group() == "}" and open_braces:
            ends[open_braces.pop()] = match.start()
    found: list[tuple[int, int, str | None]] = []
    for match in BOX.finditer(text, first.start()):
        brace = match.start(1)
        if match[1] != "{":
            found.append((match.start(), match.end(), match[1]))
        elif brace in ends:
            found.append((match.start(), ends[brace] + 1, text[brace + 1 : ends[brace]]))
        else:
            found.append((match.start(), len(text), None))
    return found


def last_box(text: str) -> str | None:
    """The answer in the last group of boxes; None if there is none, or if it is empty or not closed."""
    return last_group(text, boxes(text))


def last_group(text: str, found: Sequence[tuple[int, int, str | None]]) -> str | None:
    """:func:`last_box` for a text whose boxes are known."""
    start, end, content = found[-1] if found else (0, 0, None)
    if content is None:
        return None
    contents = [content.strip()]
    for before_start, before_end, before in reversed(found[:-1]):
        if len(contents) > MOST:
            return None
        if before is None or before_end > end or _BETWEEN.fullmatch(text, before_end, start) is None:
            break
        contents.append(before.strip())
        start = before_start
    if not all(contents):
        return None
    group = list(dict.fromkeys(reversed(contents)))
    return group[0] if len(group) == 1 else ", ".join(rf"\boxed{{{part}}}" for part in group)
