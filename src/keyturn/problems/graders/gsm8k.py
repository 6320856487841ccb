"""GSM8K's format: worked steps, then ``#### 18``.

Strict: the first *marker* whose line holds one quantity and nothing else. A marker is ``####`` anywhere, or
``A:`` at the start of a line (the form of the authors' released model solutions). The first one ends the
solution, as in the authors' own reader (``re.search``) and in lm-eval's ``strict-match``: after it a base model
usually writes the next problem. Consecutive markers with different values are a list of candidates and not an
answer. ``#### Step 1: …`` is a heading and not a marker. If no marker holds a quantity, a last box, an answer
tag or ``the answer is 18`` is read, as by the ``numeric`` grader (:mod:`keyturn.problems.graders.markers`). A
number alone is never enough, neither in bold nor on its own line.
Lenient: the last number anywhere in the text, as in lm-eval's ``flexible-extract``.

Numbers are compared exactly as rational numbers (:mod:`keyturn.problems.graders.numbers`): ``1,000``,
``1000`` and ``1000.00`` are the same; calculator annotations ``<<2*9=18>>`` are steps and never read.

Source: Cobbe et al. 2021, arXiv 2110.14168; github.com/openai/grade-school-math ``dataset.py``.
"""

from __future__ import annotations

import re

from keyturn.problems.graders.extraction import OneByOne, TextGrader
from keyturn.problems.graders.markers import Kind, marked_answer, own_problems, undressed
from keyturn.problems.graders.numbers import is_quantity, quantity, same_number
from keyturn.problems.graders.numeric import loose_number
from keyturn.problems.graders.words import after_thinking

_UNMARKED = Kind(reads=is_quantity, hashes=False)
_MARKER = re.compile(r"(?:####|^[ \t]*A:)[ \t]*([^\n#]*+)", re.MULTILINE)


def strict_quantity(text: str) -> str | None:
    """The quantity after the first marker, else in a box, in a tag or after ``the answer is``."""
    for part in own_problems(after_thinking(text)):
        marked, rivals = _marked(part)
        found = None if rivals else marked or marked_answer(part, _UNMARKED)
        if rivals or found:
            return found
    return None


def marked_quantity(text: str) -> str | None:
    """The quantity after the first marker; None if there is none or if several compete."""
    return _marked(text)[0]


def _marked(text: str) -> tuple[str | None, bool]:
    """The quantity after the first marker, and whether several compete (then there is none)."""
    first: str | None = None
    end = 0
    for match in _MARKER.finditer(text) if "####" in text or "A:" in text else ():
        answer = undressed(match[1])
        value = quantity(answer)
        if first is None:
            if value is not None:
                first, end = answer, match.end()
            continue
        if text[end : match.start()].strip():
            break
        if value is not None and value != quantity(first):
            return None, True
        end = match.end()
    return first, False


def gold_number(text: str) -> str | None:
    """The quantity of a gold answer: after its last marker, or all of it; else None (ungraded)."""
    marked = [match[1].strip() for match in _MARKER.finditer(text)]
    answer = marked[-1] if marked else text.strip()
    return answer if quantity(answer) is not None else None


GSM8K = TextGrader(
    name="gsm8k/2",
    strict=strict_quantity,
    lenient=loose_number,
    gold=gold_number,
    compare=OneByOne(same_number),
    form="{work}\n#### {answer}",
)
