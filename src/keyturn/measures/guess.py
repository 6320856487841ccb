"""How often an answer is right without reading the problem: answers permuted within their type.

``g_i`` is the share of the base's draws on the *other* problems of the same type whose extracted answer is
right for problem i. Right is its gold answer, or any text that was graded right on one of its own draws.

Denominator: the draws of the other problems of the type. Degenerate: NaN for a problem that is alone in its
type, or of which no right answer is known. Known bias: answers are compared as text, so the rate is a lower
bound where one answer has many spellings. Source: ours (docs/verdict.md); permutation null of answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keyturn.measures.cells import cells_of
from keyturn.rollouts.grades import Answers


def guess_rates(answers: Answers, by: Sequence[str] = ()) -> NDArray[np.float64]:
    """Guessing rate of every problem, float64 ``[problem]``.

    Args:
        answers: draws of the base.
        by: fields of ``Problem.cell`` that make a type; none: all problems are of one type.
    """
    problems = len(answers.problems)
    given: list[Counter[str]] = [Counter() for _ in range(problems)]
    right: list[set[str]] = [set(problem.golds) for problem in answers.problems]
    for problem, answer, outcome in zip(answers.problem, answers.answer, answers.outcome, strict=True):
        if answer:
            given[problem][answer] += 1
            if outcome == 1:
                right[problem].add(answer)
    rows = np.bincount(answers.problem, minlength=problems)
    types = [index for _, index in cells_of(answers.problems, by)] if by else [np.arange(problems)]
    rates = np.full(problems, np.nan)
    for index in types:
        together: Counter[str] = Counter()
        for i in index:
            together.update(given[i])
        total = int(rows[index].sum())
        for i in index:
            others = total - int(rows[i])
            if right[i] and others:
                rates[i] = sum(together[a] - given[i][a] for a in right[i]) / others
    return rates
