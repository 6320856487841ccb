"""Rationales rewritten by the policy that wrote them: the request, the catalyst, and selection without gold
answers.

A catalyst is a triple: a problem, the base's own rationale, and a richer one (an expert's); its placebo is the
base's own rationale with filler up to the length of the richer one, nothing else changed. Selectors see two
rationales and no gold answer:

* ``new``: the rewritten one; ``old``: the one there was;
* ``length``: the longer one;
* ``likelihood``: the one that the base finds more likely, mean over tokens;
* ``consistency``: the rewritten one if its answer is the most frequent among the base's votes, or if the old
  one's is not either.

A rewritten rationale without an extractable answer is never chosen.
Degenerate: ties keep the old rationale; so does a problem whose votes have no single most frequent answer.
Known bias: ``length`` is a reward for length by another name; ``likelihood`` prefers long predictable text;
``consistency`` keeps what the base says already.
Source: Self-Reasoning Language Models (2505.14116): expansion and selection without gold answers; its exact
selectors are not known to us. Ours: the rules above, the placebo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import unknown
from keyturn.core.problem import Problem
from keyturn.methods.traces import parted
from keyturn.policies.protocol import TokenTable
from keyturn.problems.world.vocabulary import CONTROLS
from keyturn.rollouts.completions import Completions

Selector: TypeAlias = Literal["new", "old", "length", "likelihood", "consistency"]
SELECTORS: tuple[Selector, ...] = ("new", "old", "length", "likelihood", "consistency")

MARK = CONTROLS[10]
"""The controlled world's word for: write it again."""
ASKED = (
    "{problem}\n\nA first rationale:\n{rationale}\n\nWrite it again in more detail: break it down, check each "
    "step, and end with the answer."
)
"""How a rewriting is asked for in plain words."""


def context(problem: Problem, rationale: str, *, world: bool) -> Problem:
    """What the rewriting follows: problem and rationale."""
    told = f"{problem.prompt} {rationale} {MARK}" if world else ""
    told = told or ASKED.format_map({"problem": problem.prompt, "rationale": rationale})
    return Problem(id=f"{problem.id} again", prompt=told)


def padded(problem: Problem, rationale: str, words: int, filler: str) -> str:
    """The placebo: the rationale with filler before its answer, up to ``words`` words; longer ones stay."""
    one = parted(problem, rationale)
    missing = words - len(rationale.split())
    if missing <= 0:
        return rationale
    gap = "" if not one.trace or one.trace[-1].isspace() else " "
    return one.trace + gap + " ".join([filler] * missing) + " " + one.answer


def leading(answers: Sequence[str]) -> str:
    """The most frequent answer among votes; "" where none was given or several lead."""
    found = Counter(answer for answer in answers if answer).most_common(2)
    if not found or (len(found) == 2 and found[0][1] == found[1][1]):
        return ""
    return found[0][0]


def mean_logprobs(table: TokenTable, completions: Completions) -> NDArray[np.float64]:
    """Mean log-probability of each completion's tokens, ``[row]``; NaN for an empty one."""
    sums = np.bincount(completions.token_row, weights=table.logprobs, minlength=len(completions))
    return np.where(completions.lengths > 0, sums / np.maximum(completions.lengths, 1), np.nan)


def prefers_new(
    selector: Selector,
    *,
    lengths: tuple[int, int],
    answers: tuple[str, str],
    logprobs: tuple[float, float] = (np.nan, np.nan),
    vote: str = "",
) -> bool:
    """Whether the rewritten rationale replaces the old one; pairs are (old, new).

    Raises:
        UsageError: there is no such selector.
    """
    if selector not in SELECTORS:
        raise unknown("selector", selector, SELECTORS)
    if selector == "old" or not answers[1]:
        return False
    if selector == "length":
        return lengths[1] > lengths[0]
    if selector == "likelihood":
        return bool(logprobs[1] > logprobs[0])
    if selector == "consistency":
        return bool(vote) and (answers[1] == vote or answers[0] != vote)
    return True
