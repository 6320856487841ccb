"""GSM8K's format: worked steps, then ``#### 18``.

Strict: the first *marker* whose line holds one quantity and nothing else. A marker is ``####`` anywhere, or
``A:`` at the start of a line (the form of the authors' released model solutions). The first one ends
the solution, as in the authors' own reader (``re.search``) and in lm-eval's ``strict-match``: what a base
model writes after it is usually the next problem. Markers that follow one another directly with
different values are a list of candidates: no answer. ``#### Step 1: …`` is a heading, no marker.
Lenient: the last number anywhere in the text, as in lm-eval's ``flexible-extract``.

Numbers are compared exactly as rational numbers (:mod:`keyturn.problems.graders.numbers`): ``1,000``,
``1000`` and ``1000.00`` are the same; calculator annotations ``<<2*9=18>>`` are steps and never read.

Source: Cobbe et al. 2021, arXiv 2110.14168; github.com/openai/grade-school-math ``dataset.py``.
"""

from __future__ import annotations

import re

from keyturn.problems.graders.extraction import TextGrader, one_by_one
from keyturn.problems.graders.numbers import last_number, quantity, same_number

_MARKER = re.compile(r"(?:####|^[ \t]*A:)[ \t]*([^\n#]*+)", re.MULTILINE)


def marked_quantity(text: str) -> str | None:
    """The quantity behind the first marker, None where there is none or several compete."""
    first: str | None = None
    end = 0
    for match in _MARKER.finditer(text):
        value = quantity(match[1])
        if first is None:
            if value is not None:
                first, end = match[1].strip(), match.end()
            continue
        if text[end : match.start()].strip():
            break
        if value is not None and value != quantity(first):
            return None
        end = match.end()
    return first


def gold_number(text: str) -> str | None:
    """The quantity of a gold answer: behind its last marker, or the whole of it; else None (ungraded)."""
    marked = [match[1].strip() for match in _MARKER.finditer(text)]
    answer = marked[-1] if marked else text.strip()
    return answer if quantity(answer) is not None else None


GSM8K = TextGrader(
    name="gsm8k/1",
    strict=marked_quantity,
    lenient=last_number,
    gold=gold_number,
    compare=one_by_one(same_number),
    form="{work}\n#### {answer}",
)
