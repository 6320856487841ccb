r"""Mathematics in LaTeX: the last ``\boxed{…}`` is the answer, and math-verify compares it with the gold
answer.

Strict: the last group of boxes counts (:mod:`keyturn.problems.graders.boxes`); a group in which each box alone
is right (one answer in two forms) is right too. A box that occurs only in a closed thought is not an answer.
Lenient: the last closed box that is not empty; else what follows the last ``answer is``; else the last
formula between dollar signs; else the last number.

Comparison: both answers are brought into one normal form (:mod:`keyturn.problems.graders.dress`, ``latex``).
Equal text (ignoring white space, but not between digits) is then right whatever it means. An answer of more
than 600 characters is wrong. So is a list if the gold answer is not one (``3,3,3`` is not 3), another base
(``52_8``, ``52_9``) and another power of a unit. Math-verify decides the rest, in a separate process with a
time limit. Answers that math-verify calls equal within its six decimals must be equal exactly: ``2^{-80}`` is
not ``2^{-81}``, ``0.333333`` counts as a third, and ``0.333334`` does not. Without a verdict in time an answer
is *ungraded*, never wrong.

Behaviour of math-verify 0.9: ``0.5`` equals ``\frac12``; ``50\%`` equals both 50 and 0.5; a unit is dropped; of
a chain of equations the last side counts; an open interval equals the pair of its ends; text is compared as
text, ignoring case.

Source: math-verify (github.com/huggingface/Math-Verify, Apache-2.0). Departures: our own rules extract one
answer and math-verify gets only that, since its own extraction tries several candidates; its ``SIGALRM``
time-outs are off; its reader of plain expressions, which calls ``eval``, is not used.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from keyturn.problems.graders.boxes import BOX, boxes, last_box
from keyturn.problems.graders.dress import bare
from keyturn.problems.graders.extraction import TextGrader
from keyturn.problems.graders.latex import MAX_ANSWER, matched, normal, settled, squeezed
from keyturn.problems.graders.numbers import last_number
from keyturn.problems.graders.words import after_thinking
from keyturn.problems.graders.worker import MathWorker

_SAID = re.compile(r"answer\s*+(?:is|:)\s*+:?\s*+([^\n]{1,300})", re.IGNORECASE)
_FORMULA = re.compile(r"\$([^$]{1,400}+)\$")


def final_box(text: str) -> str | None:
    """The strict extraction: the last group of boxes, without boxes that occur only in a closed thought."""
    return last_box(after_thinking(text))


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
    """A gold answer: its last box, or the text after ``####``, or all of it; None if it is empty."""
    if BOX.search(text):
        return last_box(text)
    return text.rsplit("####", 1)[-1].strip() or None


def math_grader(limit_s: float = 1.0) -> TextGrader:
    """The grader, with its own worker process, which starts on first use.

    Args:
        limit_s: maximum seconds of processor time for one answer.
    """
    return TextGrader(
        name=f"math/2 math-verify {_version()} limit {limit_s:g}",
        strict=final_box,
        lenient=any_answer,
        gold=gold_answer,
        compare=ByMathVerify(limit_s),
        form=r"{work} $\boxed{{{answer}}}$",
    )


@dataclass(frozen=True)
class ByMathVerify:
    """Comparisons in a separate worker process.

    Args:
        limit_s: maximum seconds of processor time for one answer.
    """

    limit_s: float
    worker: MathWorker = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worker", MathWorker(self.limit_s))

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """1 right, 0 wrong, NaN without a verdict in time."""
        return _compare(self.worker, pairs)


def _compare(worker: MathWorker, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """A group of boxes is right as one list, or if each box alone is right (one answer in two forms)."""
    groups = [[content or "" for _, _, content in boxes(answer)] or [answer] for _, answer in pairs]
    asked: dict[tuple[str, str], float | None] = {}
    for (gold, _), group in zip(pairs, groups, strict=True):
        for part in {*group, ", ".join(group)}:
            asked[gold, part] = _at_sight(gold, part)
    unseen = [pair for pair, verdict in asked.items() if verdict is None]
    shown = [matched(normal(gold), normal(answer)) for gold, answer in unseen]
    verdicts = dict(zip(unseen, worker.compare(shown) if shown else (), strict=True))
    known = {pair: verdicts.get(pair, value) for pair, value in asked.items()}
    return [
        _either(known[gold, ", ".join(group)], [known[gold, part] for part in group])
        for (gold, _), group in zip(pairs, groups, strict=True)
    ]


def _either(whole: float | None, each: Sequence[float | None]) -> float:
    """Right as a whole or in every part; wrong if both are known to be wrong; else ungraded."""
    if whole == 1 or all(part == 1 for part in each):
        return 1.0
    return 0.0 if whole == 0 and any(part == 0 for part in each) else math.nan


def _at_sight(gold: str, answer: str) -> float | None:
    """The verdict if it needs no mathematics, else None."""
    if len(answer) > MAX_ANSWER:
        return float("".join(gold.split()) == "".join(answer.split()))
    if squeezed(bare(gold)) == squeezed(bare(answer)):
        return 1.0
    return settled(normal(gold), normal(answer))


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
