"""One answer out of several: rows of draws in groups, answers brought to one form, votes counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.elicitation.contract import Asked, Costs, Elicitation
from keyturn.problems.graders.numbers import quantity
from keyturn.rollouts.completions import Completions


def positive(count: int, option: str) -> None:
    """Refuse a number of draws or rounds below 1."""
    if count < 1:
        raise UsageError(f"{option} is {count}", fix="a number of 1 or more")


def canonical(answer: str) -> str | Fraction:
    """An answer in the form in which two that mean the same are equal: a number, else text without case."""
    number = quantity(answer)
    return " ".join(answer.split()).casefold() if number is None else number


def majority(answers: Sequence[str], weights: Sequence[float] | None = None) -> tuple[int, float]:
    """The first draw with the answer that has most votes, and the share of votes that it has.

    A draw without an answer has no vote; where none has an answer, the first draw is taken with a share of 0.
    Of equally many votes the answer that came first wins.

    Args:
        answers: extracted, ``""`` where there is none.
        weights: of the votes, not negative; 1 each by default.
    """
    votes: dict[str | Fraction, float] = {}
    first: dict[str | Fraction, int] = {}
    for place, answer in enumerate(answers):
        if answer:
            key = canonical(answer)
            votes[key] = votes.get(key, 0.0) + (1.0 if weights is None else float(weights[place]))
            first.setdefault(key, place)
    total = sum(votes.values())
    if not votes:
        return 0, 0.0
    best = max(votes, key=lambda key: (votes[key], -first[key]))
    return first[best], votes[best] / total if total else 0.0


def taken(
    asked: Asked, drawn: Completions, chosen: NDArray[np.int64], costs: Costs, **facts: NDArray
) -> Elicitation:
    """The chosen draw of every group as the answer.

    Args:
        asked: problems and draws of the answers.
        drawn: as many draws for each answer, in groups that follow each other.
        chosen: place of the taken draw in its group, ``[answer]``.
        costs: of the draws, summed over each group.
        facts: further numbers, ``[answer]``.
    """
    size = len(drawn) // max(len(chosen), 1)
    kept = drawn.select(np.arange(len(chosen)) * size + chosen)
    numbers = np.tile(np.asarray(asked.draws, dtype=np.int32), len(asked.problems.problems))
    return Elicitation(completions=replace(kept, draw=numbers), costs=costs, facts=facts)


def threshold_of(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The number that a share of some values is above; values that are equal stay together.

    Raises:
        UsageError: the share is none.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"--share is {share}", fix="a share from 0 to 1")
    ordered = np.sort(values)[::-1]
    count = round(share * len(ordered))
    last = ordered[count - 1] if count else np.inf
    below = ordered[count] if count < len(ordered) else -np.inf
    middle = (last + below) / 2
    return np.array([middle if np.isfinite(middle) else np.nextafter(last, -np.inf) if count else last])
