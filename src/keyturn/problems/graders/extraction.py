"""A grader of texts: which part of a completion is its answer, and whether it equals the gold answer.

One completion gives one answer, so giving several gains nothing. Each grader's file states the rule that
chooses the answer; the rule never uses the gold answer. Only the policy's own words count
(:mod:`keyturn.problems.graders.words`). If there are several gold answers, each is right. Without a gold
answer, or without a completion (``Stop.ERROR``), a row is *ungraded* (NaN), never wrong; an empty completion is
wrong.

The column ``lenient`` says whether the answer is right in the requested format, or by the same comparison after
an extraction that requires no format. It separates a wrong format from a wrong answer. Chance meets it more
easily, so it is a diagnosis and never the reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.problems.graders.words import own_words
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

Extract: TypeAlias = "Callable[[str], str | None]"
Compare: TypeAlias = "Callable[[Sequence[tuple[str, str]]], Sequence[float]]"


@dataclass(frozen=True, kw_only=True, eq=False)
class TextGrader:
    """Judges completions by their text.

    Args:
        name: identity and version.
        strict: the answer in the requested format, or None.
        lenient: the answer in any format, or None.
        gold: the answer in a data set's answer column, or None.
        compare: pairs ``(gold, answer)`` to 1 right, 0 wrong, NaN ungraded.
        compare_lenient: the same for leniently extracted answers; None means ``compare``.
        form: template for ``str.format`` of a completion that the strict rule reads: ``{answer}`` stands for
            the answer and ``{work}`` for the steps before it, if the format has room for them; ``""`` if
            numbers cannot show the format.
    """

    name: str
    strict: Extract
    lenient: Extract
    gold: Extract
    compare: Compare
    compare_lenient: Compare | None = None
    form: str = "{answer}"
    reads_traces: bool = False

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row; see :class:`keyturn.problems.contract.Grader`."""
        golds = [self.wanted(problem.golds) for problem in problems]
        texts = [
            own_words(text, problems[index].prompt)
            for index, text in zip(completions.problem.tolist(), completions.texts, strict=True)
        ]
        rows = [golds[index] for index in completions.problem.tolist()]
        silent = completions.stop == Stop.ERROR
        strict = [self.strict(text) for text in texts]
        outcome = _outcome(self.compare, rows, strict, silent)
        # An answer that is right in its format is also right leniently, so only the rest is read again.
        again = outcome != 1
        loose = [
            self.lenient(text) if ask else answer
            for text, answer, ask in zip(texts, strict, again.tolist(), strict=True)
        ]
        compared = _outcome(self.compare_lenient or self.compare, rows, loose, silent | ~again)
        return Grades(
            outcome=outcome,
            verified=np.full(len(rows), np.nan, dtype=np.float32),
            answer=tuple(answer or "" for answer in strict),
            columns={
                "lenient": np.where(again, compared, outcome).astype(np.float32),
                "lenient_answer": _objects([answer or "" for answer in loose]),
            },
        )

    def wanted(self, golds: Sequence[str]) -> tuple[str, ...]:
        """The right answers of one problem; empty if no gold answer can be read."""
        return tuple(
            dict.fromkeys(wanted for gold in golds if gold and (wanted := self.gold(gold)) is not None)
        )

    def judge(self, gold: str | Sequence[str], text: str) -> float:
        """Judge one completion by one gold answer or any of several: 1 right, 0 wrong, NaN ungraded."""
        wanted = self.wanted([gold] if isinstance(gold, str) else gold)
        return float(
            _outcome(self.compare, [wanted], [self.strict(own_words(text))], np.zeros(1, dtype=np.bool_))[0]
        )


@dataclass(frozen=True)
class OneByOne:
    """A comparison of many pairs, made from a comparison of one pair.

    Args:
        same: ``(gold, answer)`` to 1 right, 0 wrong, NaN ungraded.
    """

    same: Callable[[str, str], float]

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        """Compare each pair."""
        return [self.same(gold, answer) for gold, answer in pairs]


def _objects(values: Sequence[str]) -> NDArray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _outcome(
    compare: Compare,
    golds: Sequence[tuple[str, ...]],
    answers: Sequence[str | None],
    silent: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Compare each different pair once. Any of several gold answers makes a row right.

    A row is wrong if every comparison says so, and ungraded if one of them gave no verdict and none is right.
    """
    out = np.full(len(golds), np.nan, dtype=np.float32)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (wanted, answer, skip) in enumerate(zip(golds, answers, silent.tolist(), strict=True)):
        if skip or not wanted:
            continue
        out[row] = 0.0
        for gold in wanted if answer is not None else ():
            rows.setdefault((gold, answer), []).append(row)  # type: ignore[arg-type]
    for places, value in zip(rows.values(), compare(list(rows)), strict=True):
        here = out[places]
        out[places] = np.where((here == 1) | (value == 1), 1.0, here + value)
    return out
