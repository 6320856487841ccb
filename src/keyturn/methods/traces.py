"""Worked solutions taken apart, and made wrong, foreign or empty while their form stays.

A worked solution is a trace and then an answer; the answer begins at the last line's first answer mark
(``ANS``, ``####``, ``answer is``, ``\\boxed``), or at the last number where there is none. From a right trace
come

* ``invalid``: each of its numbers, with probability ``wrong``, is another number that the solutions hold, at
  least one of them;
* ``swapped``: the trace of another problem;
* ``filler``: as many tokens as the trace has, all the same and empty;
* ``none``: the answer alone.

Degenerate: a trace without a number (or where the solutions hold no other) stays as it is; one problem cannot
be swapped.
Known bias: a changed number is drawn from those of as many digits, so the form stays and a part of the changed
traces is less wrong than ``wrong`` says: later steps are not carried on from the error.
Source: swapped traces: Stechly et al. 2025 (2505.13775); invalid ones: Wang et al. 2023 (2212.10001), who
wrote them by hand; filler of equal length: Lanham et al. 2023 (2307.13702). Ours: numbers changed at random.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.errors import InputError, unknown
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams

Kind: TypeAlias = Literal["valid", "invalid", "swapped", "filler", "none"]
"""What a trace is made into, see the file's docstring."""
KINDS: tuple[Kind, ...] = ("valid", "invalid", "swapped", "filler", "none")

_MARK = re.compile(r"\bANS\b|####|\\boxed|(?:the )?(?:final )?\banswer\b(?: is|:)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Worked:
    """A worked solution.

    Args:
        problem: what it solves.
        trace: everything before the answer.
        answer: the rest, its mark included.
    """

    problem: Problem
    trace: str
    answer: str

    @property
    def text(self) -> str:
        """Both."""
        return self.trace + self.answer


def parted(problem: Problem, text: str) -> Worked:
    """Take a worked solution apart; a text with neither a mark nor a number is all trace."""
    begin = len(text)
    marks = list(_MARK.finditer(text))
    if marks:
        line = text.rfind("\n", 0, marks[-1].start()) + 1
        begin = next(mark.start() for mark in marks if mark.start() >= line)
    else:
        numbers = list(_NUMBER.finditer(text))
        begin = numbers[-1].start() if numbers else begin
    return Worked(problem=problem, trace=text[:begin], answer=text[begin:])


def numbers_in(worked: Sequence[Worked]) -> Mapping[int, tuple[str, ...]]:
    """Digits -> the different numbers of so many digits that the traces and answers hold, sorted."""
    found: dict[int, set[str]] = defaultdict(set)
    for one in worked:
        for number in _NUMBER.findall(one.text):
            found[len(number)].add(number)
    return {digits: tuple(sorted(numbers)) for digits, numbers in found.items()}


def altered(text: str, wrong: float, known: Mapping[int, Sequence[str]], generator: np.random.Generator) -> str:
    """A text in which numbers are others of as many digits: each with probability ``wrong``, at least one.

    Args:
        text: any.
        wrong: probability.
        known: digits -> numbers that may stand there.
        generator: draws.
    """
    places = [found for found in _NUMBER.finditer(text) if len(known.get(len(found.group()), ())) > 1]
    if not places:
        return text
    chosen = generator.random(len(places)) < wrong
    if not chosen.any():
        chosen[generator.integers(len(places))] = True
    out, last = [], 0
    for found, change in zip(places, chosen, strict=True):
        others = [number for number in known[len(found.group())] if number != found.group()]
        if change and others:
            out += [text[last : found.start()], others[int(generator.integers(len(others)))]]
            last = found.end()
    return "".join([*out, text[last:]])


def remade(
    worked: Sequence[Worked],
    kind: Kind,
    streams: Streams,
    *,
    right: bool = True,
    wrong: float = 1.0,
    filler: str = "~",
    count: dict[str, int] | None = None,
) -> list[Worked]:
    """Solutions with traces of a kind and right or wrong answers, in their order.

    Args:
        worked: right solutions.
        kind: of trace.
        streams: draws, by problem.
        right: keep the answer; else its numbers are others too.
        wrong: probability that a number of an ``invalid`` trace is changed.
        filler: a word of an empty trace.
        count: trace -> its tokens; words where a trace is not named.

    Raises:
        UsageError: there is no such kind.
        InputError: one solution alone cannot be swapped.
    """
    if kind not in KINDS:
        raise unknown("kind of trace", kind, KINDS)
    if kind == "swapped" and len(worked) < 2:
        raise InputError("swapping needs at least two solutions", fix="give more problems")
    known = numbers_in(worked)
    out = []
    for index, one in enumerate(worked):
        own = streams.generator("remade", kind, one.problem.id)
        trace, answer = one.trace, one.answer
        if kind == "invalid":
            trace = altered(trace, wrong, known, own)
        elif kind == "swapped":
            trace = worked[(index + len(worked) // 2) % len(worked)].trace
        elif kind == "none":
            trace = ""
        elif kind == "filler":
            size = (count or {}).get(trace, len(trace.split()))
            trace = " ".join([filler] * size) + trace[len(trace.rstrip()) :]
        if not right:
            answer = altered(answer, 1.0, known, own)
        out.append(replace(one, trace=trace, answer=answer))
    return out
