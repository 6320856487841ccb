r"""Mathematics in LaTeX: the last ``\boxed{…}`` is the answer, math-verify says whether it equals the gold one.

Strict: the last *group* of boxes wins. Boxes that follow one another with nothing but commas, ``and``, ``or``,
dollar signs or white space between them are one group and mean a list, so that writing every candidate
into a box of its own is one (wrong) list and not several tries; a group whose every box is right alone (one
answer in two forms) is right too. An empty box, a box that is never closed
(the completion was cut) and no box at all are no answer: wrong. Of nested boxes the innermost counts.
Lenient: the last closed box that is not empty; else what follows the last ``answer is``; else the last
formula between dollar signs; else the last number.

Compared as: sizes of brackets (``\left``) are dropped and plain fractions get their braces; then equal text
(white space aside) is right without a look at its meaning; an answer of more than 600 characters is wrong;
a list where the gold answer is none is wrong (``3,3,3`` is not 3); the rest is math-verify's business, in a
process of its own with a time limit. No verdict in time is *ungraded*, never wrong.

Known of math-verify 0.9: ``0.5`` equals ``\frac12``; ``50\%`` equals both 50 and 0.5; a unit is dropped; of a
chain of equations the last side counts; an open interval equals the pair of its ends; text is compared as text,
case aside; ``-2 \le x \le 7`` does not equal ``[-2,7]``.

Source: math-verify (github.com/huggingface/Math-Verify, Apache-2.0). Departures: one answer is extracted by
our own rules and only that is shown to it, since its own extraction tries several candidates; its
``SIGALRM`` time-outs are off; its reader of plain expressions, which ends in ``eval``, is not used.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Sequence
from functools import partial

from keyturn.problems.graders.extraction import TextGrader
from keyturn.problems.graders.numbers import last_number
from keyturn.problems.graders.worker import MathWorker

MAX_ANSWER = 600
"""Characters of an answer that is looked at; the longest gold answer of MATH-500 has 53."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*+(\{|[^\s\\{}$]*+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN = re.compile(
    r"[\s$,;.&]*+(?:\\(?:text|mbox|mathrm)\s*+\{\s*+)?(?:and|or)?+(?:\s*+\})?[\s$,;.&\\()\[\]]*+"
)
_SAID = re.compile(r"answer\s*+(?:is|:)\s*+:?\s*+([^\n]{1,300})", re.IGNORECASE)
_FORMULA = re.compile(r"\$([^$]{1,400}+)\$")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|,|\\,|\\!)(?=\d{3}(?!\d))")
_SEVERAL = re.compile(r",|;|&|\\pm|\\mp|\\cup|\\\{|\\\\|\band\b|\bor\b")


_SIZE = re.compile(r"\\(?:left|right)(?![A-Za-z])\.?|\\[bB]igg?[lr]?(?![A-Za-z])")
_FRAC = re.compile(
    r"\\[dtc]?frac(?![A-Za-z])\s*+(\{[^{}]*+\}|\\[A-Za-z]++|\d)\s*+(\{[^{}]*+\}|\\[A-Za-z]++|\d)"
)


def boxes(text: str) -> list[tuple[int, int, str | None]]:
    """Every box in the order of its start: ``(start, end, content)``, content None where it is never closed."""
    ends: dict[int, int] = {}
    open_braces: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            open_braces.append(match.start())
        elif match.group() == "}" and open_braces:
            ends[open_braces.pop()] = match.start()
    found: list[tuple[int, int, str | None]] = []
    for match in _BOX.finditer(text):
        brace = match.start(1)
        if match[1] != "{":
            found.append((match.start(), match.end(), match[1]))
        elif brace in ends:
            found.append((match.start(), ends[brace] + 1, text[brace + 1 : ends[brace]]))
        else:
            found.append((match.start(), len(text), None))
    return found


def last_box(text: str) -> str | None:
    """The answer in the last group of boxes, None where there is none, it is empty or not closed."""
    found = boxes(text)
    start, end, content = found[-1] if found else (0, 0, None)
    if content is None:
        return None
    contents = [content.strip()]
    for before_start, before_end, before in reversed(found[:-1]):
        if before is None or before_end > end or _BETWEEN.fullmatch(text, before_end, start) is None:
            break
        contents.append(before.strip())
        start = before_start
    if not all(contents):
        return None
    group = list(dict.fromkeys(reversed(contents)))
    return group[0] if len(group) == 1 else ", ".join(rf"\boxed{{{part}}}" for part in group)


def any_answer(text: str) -> str | None:
    """The lenient extraction."""
    for _, _, content in reversed(boxes(text)):
        if content is not None and content.strip():
            return content.strip()
    said = _last(_SAID, text)
    if said is not None:
        return _last(_FORMULA, said) or said.rstrip(". ").strip("*$ ") or None
    return _last(_FORMULA, text) or last_number(text)


def gold_answer(text: str) -> str | None:
    """A gold answer: its last box, or what follows ``####``, or the whole of it; None where it is empty."""
    if _BOX.search(text):
        return last_box(text)
    return text.rsplit("####", 1)[-1].strip() or None


def math_grader(limit_s: float = 1.0) -> TextGrader:
    """The grader, with a worker of its own that starts when it is first needed.

    Args:
        limit_s: seconds of processor time an answer may take.
    """
    return TextGrader(
        name=f"math/1 math-verify {_version()} limit {limit_s:g}",
        strict=last_box,
        lenient=any_answer,
        gold=gold_answer,
        compare=partial(_compare, MathWorker(limit_s)),
        form=r"{work} $\boxed{{{answer}}}$",
    )


def tidy(latex: str) -> str:
    """LaTeX without sizes of brackets, and every plain fraction with its braces."""

    def braced(match: re.Match[str]) -> str:
        top, bottom = (part if part[0] == "{" else f"{{{part}}}" for part in match.groups())
        return rf"\frac{top}{bottom}"

    return _FRAC.sub(braced, _SIZE.sub("", latex)).strip()


def _compare(worker: MathWorker, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """A group of boxes is right as one list, or where every box alone is (one answer in two forms)."""
    pairs = [(tidy(gold), tidy(answer)) for gold, answer in pairs]
    groups = [[content or "" for _, _, content in boxes(answer)] or [answer] for _, answer in pairs]
    asked: dict[tuple[str, str], float | None] = {
        (gold, part): _at_sight(gold, part)
        for (gold, _), group in zip(pairs, groups, strict=True)
        for part in {*group, ", ".join(group)}
    }
    unseen = [pair for pair, verdict in asked.items() if verdict is None]
    verdicts = dict(zip(unseen, worker.compare(unseen) if unseen else (), strict=True))
    known = {pair: verdicts.get(pair, value) for pair, value in asked.items()}
    return [
        _either(known[gold, ", ".join(group)], [known[gold, part] for part in group])
        for (gold, _), group in zip(pairs, groups, strict=True)
    ]


def _either(whole: float | None, each: Sequence[float | None]) -> float:
    """Right as a whole or in every part; wrong where both are known to fail; else ungraded."""
    if whole == 1 or all(part == 1 for part in each):
        return 1.0
    return 0.0 if whole == 0 and any(part == 0 for part in each) else math.nan


def _at_sight(gold: str, answer: str) -> float | None:
    """The verdict where no mathematics is needed, else None."""
    if "".join(gold.split()) == "".join(answer.split()):
        return 1.0
    if len(answer) > MAX_ANSWER:
        return 0.0
    lists = "," in _THOUSANDS.sub("", answer) or ";" in answer
    return 0.0 if lists and not _SEVERAL.search(_THOUSANDS.sub("", gold)) else None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[1].strip()
    return found or None


def _version() -> str:
    try:
        return importlib.metadata.version("math-verify")
    except importlib.metadata.PackageNotFoundError:
        return "absent"


MATH = math_grader()
