r"""Markers of the answer in a completion, for the graders of numbers and of option letters.

A marker is one of the following, in any mixture, with Markdown or LaTeX around it:

* the last group of boxes (:mod:`keyturn.problems.graders.boxed`);
* an answer tag: ``<answer>18</answer>`` (also ``final_answer``, ``final``), ``[ANSWER]18[/ANSWER]``;
* ``#### 18`` at the start of a line;
* ``(The) (final) answer is 18``, ``Answer: 18``, and the line ``A: 18``. Such words are prose unless an answer
  follows, and then nothing on the line may look like a second one (``7. Or 8.``);
* the whole last line, if the grader reads it.

The last marker gives the answer, whatever it says: restating an answer gains nothing, and of several candidates
only the last counts. If the last box or tag is empty, unclosed, a list or not of the grader's kind, there is no
answer, and earlier markers are not read. Text from a line that begins with ``Question:``, ``Q:`` or
``Problem:`` is the next problem of a policy that does not stop. It is read only if no answer comes before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from keyturn.problems.graders.boxes import boxes, last_group
from keyturn.problems.graders.dress import bare, characters
from keyturn.problems.graders.words import after_thinking

LONGEST = 240
"""Characters behind a marker that are looked at."""
_TRIES = 12
"""Places with the word ``answer`` that are looked at, from the last one on."""

_MOST = 100
"""Lines with ``####`` that are looked at, the last ones."""

_NEXT = re.compile(
    r"^[ \t>*#]*(?:(?:next|new)\s+)?(?:question|q|problem)(?:\s*\d+)?\s*[:.]", re.IGNORECASE | re.MULTILINE
)
_TAG = re.compile(
    r"<(answer|final_answer|final)>(?P<xml>.*?)(?P<end></\1>|\Z)|\[ANSWER\](?P<square>.*?)(?P<end2>\[/ANSWER\]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_HASHES = re.compile(r"^[ \t*]*####(?!#)[ \t]*([^\n]*)", re.MULTILINE)
_LINE_A = re.compile(r"^[ \t*]*A:[ \t]*([^\n]*)", re.MULTILINE)
_SAYS = re.compile(
    r"(?:answer|option|choice)s?[*_\"']*(?:\s+(?:to|for|of)\s+[^\n.:=\d]{1,60}?)?"
    r"\s*(?:\b(?:is|are|would\s+be|must\s+be|should\s+be|becomes)\b\s*[*_]*\s*(?::|=)?|:|=)\s*(?:[*_]+(?=\s))?",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|then|and)\s*,?\s+)?"
    r"(?:(?:(?:the|my|our|final|correct|right|numerical)\s+){0,4}answer\s*(?:is|:|=)\s*:?|a:|=|####|[a-z]\s*=)\s*",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.!?;](?=\s|$)|\s+(?=(?:because|since|which|where|as)\b)")

Reads = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The answers and markers that a grader accepts."""

    reads: Reads
    """Whether a text is one answer and nothing else."""
    last_line: Reads | None = None
    """Condition for the last line to count without a marker; None means never."""
    hashes: bool = True
    """Whether ``####`` and ``A:`` are markers (not for a grader with its own rules for them)."""
    nouns: tuple[str, ...] = ("answer",)
    """The noun in ``The answer is 18``."""


def marked_answer(text: str, kind: Kind) -> str | None:
    """The answer at the last marker of the first problem that a completion answers, or None."""
    for part in own_problems(after_thinking(text)):
        place, answer = -1, None
        for at, found in _candidates(part, kind):
            if at >= place:
                place, answer = at, found
        if place >= 0:
            return answer
    return None


def own_problems(text: str) -> list[str]:
    """A text cut before every line that poses a question; one piece if there is no such line."""
    folded = text.lower()
    if not ("question" in folded or "problem" in folded or "q:" in folded or "q " in folded or "q." in folded):
        return [text] if text.strip() else []
    cuts = [0, *(found.start() for found in _NEXT.finditer(text)), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if text[a:b].strip()]


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern that never crosses white space; reads only as much text as necessary."""
    end, size, start = len(text), 200, len(text)
    while True:
        before, start = start, max(text.rfind(" ", 0, max(end - size, 0)), 0)
        start = 0 if start == before else start
        found = list(pattern.finditer(text, start))
        if found or start == 0:
            return found[-1] if found else None
        size *= 4


def undressed(text: str) -> str:
    """A line without the words before its answer and without fonts and wrappers."""
    line = characters(text).strip().strip("*_ ").strip()
    return bare(_LEAD.sub("", line, count=1)) if len(line) <= LONGEST else line


def _candidates(part: str, kind: Kind) -> list[tuple[int, str | None]]:
    """The last candidate of every kind with its start; None if it is not an answer."""
    reads = kind.reads
    found: list[tuple[int, str | None]] = []
    if "boxed" in part or "\\fbox" in part:
        places = boxes(part)
        if places:
            found.append((places[-1][0], _one(last_group(part, places), reads)))
    folded = part.lower()
    if "answer>" in folded or "final>" in folded or "[answer]" in folded:
        for tag in list(_TAG.finditer(part))[-1:]:
            closed = tag["end"] or tag["end2"]
            found.append((tag.start(), _one(tag["xml"] or tag["square"], reads) if closed else None))
    if kind.hashes:
        for sign, pattern in (("####", _HASHES), ("A:", _LINE_A)):
            if sign not in part:
                continue
            lines = [(line.start(), line[1]) for line in pattern.finditer(part)][-_MOST:]
            valid = [(at, said) for at, line in lines if reads(said := undressed(line))]
            found += valid[-1:]
    found += [said for noun in kind.nouns if (said := _said(part, folded, noun, reads)) is not None]
    if kind.last_line is not None:
        body = part.rstrip()
        start = body.rfind("\n") + 1
        line = undressed(body[start:]) if len(body) - start <= LONGEST else ""
        if line and "boxed" not in body[start:] and kind.last_line(line):
            found.append((start, line))
    return found


def _one(text: str | None, reads: Reads) -> str | None:
    # In a box an exclamation mark means a factorial.
    if text is None or len(text) > LONGEST or text.rstrip("$ ").endswith("!"):
        return None
    answer = undressed(text)
    return answer if reads(answer) else None


def _said(part: str, folded: str, noun: str, reads: Reads) -> tuple[int, str] | None:
    """The last ``answer is`` that is followed by one answer."""
    if len(folded) != len(part):
        # Some letters have a small form of two: their places would not agree.
        folded = part
    at = len(folded)
    for _ in range(_TRIES):
        at = folded.rfind(noun, 0, at)
        if at < 0:
            return None
        words = _SAYS.match(part, at)
        if words is None:
            continue
        end = part.find("\n", words.end())
        line = part[words.end() : end if end >= 0 else len(part)][: LONGEST + 1]
        if not line.strip(" *_$") and end >= 0:
            # The answer stands on the line below its heading.
            below = part[end:].lstrip()
            line = below[: LONGEST + 1].split("\n", 1)[0]
        answer = _of_line(line, reads)
        if answer is not None:
            return at, answer
    return None


def _of_line(line: str, reads: Reads) -> str | None:
    """The answer at the start of a line; None if the line holds something that could be a second one."""
    if len(line) > LONGEST:
        return None
    whole = undressed(line)
    if reads(whole):
        return whole
    for cut in _SENTENCE.finditer(line):
        first, rest = undressed(line[: cut.start()]), line[cut.end() :]
        if first and reads(first):
            second = re.search(r"\d|\b[A-H]\b(?!')|\\boxed|\bor\b", rest)
            return None if second else first
    return None
