"""A grader of texts: which part of a completion is its answer, and whether it equals the gold answer.

One completion gives one answer, so nothing is gained by giving several: the rule that picks it is stated
in each grader's file and never looks at the gold answer. The prompt, where a completion copies it word
for word, does not count as part of the completion. No gold answer, or a policy that gave nothing
(``Stop.ERROR``), is *ungraded* (NaN), never wrong; an empty completion is wrong.

Beside the strict outcome stands the column ``lenient``: the same comparison after an extraction that
asks for no format. It tells a wrong format from a wrong answer; it can be met by chance more easily, so
it is a diagnosis and never the reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

Extract: TypeAlias = "Callable[[str], str | None]"
Compare: TypeAlias = "Callable[[Sequence[tuple[str, str]]], Sequence[float]]"

_SHORTEST_COPY = 20
"""Characters from which on a prompt inside a completion is taken for a copy of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextGrader:
    """Judges completions by their text.

    Args:
        name: identity and version.
        strict: the answer in the format that is asked for, or None.
        lenient: the answer in any format, or None.
        gold: the answer in what a data set calls its answer, or None.
        compare: pairs ``(gold, answer)`` to 1 right, 0 wrong, NaN ungraded.
        compare_lenient: the same for leniently extracted answers; ``compare`` where None.
        form: a whole completion that the strict rule reads, for ``str.format``: ``{answer}`` stands for the
            answer and ``{work}`` for what leads to it, where the format has room for that.
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
        golds = [self.gold(problem.answer) if problem.answer else None for problem in problems]
        texts = [
            own_text(problems[index].prompt, text)
            for index, text in zip(completions.problem, completions.texts, strict=True)
        ]
        rows = [golds[index] for index in completions.problem]
        strict = [self.strict(text) for text in texts]
        lenient = [self.lenient(text) for text in texts]
        silent = completions.stop == Stop.ERROR
        return Grades(
            outcome=_outcome(self.compare, rows, strict, silent),
            verified=np.full(len(rows), np.nan, dtype=np.float32),
            answer=tuple(answer or "" for answer in strict),
            columns={
                "lenient": _outcome(self.compare_lenient or self.compare, rows, lenient, silent),
                "lenient_answer": _objects([answer or "" for answer in lenient]),
            },
        )

    def judge(self, gold: str, text: str) -> float:
        """One completion on its own: 1 right, 0 wrong, NaN ungraded."""
        wanted = self.gold(gold) if gold else None
        return float(_outcome(self.compare, [wanted], [self.strict(text)], np.zeros(1, dtype=np.bool_))[0])


def own_text(prompt: str, completion: str) -> str:
    """A completion without word-for-word copies of its prompt."""
    copied = prompt.strip()
    return completion.replace(copied, " ") if len(copied) >= _SHORTEST_COPY else completion


def one_by_one(same: Callable[[str, str], float]) -> Compare:
    """A comparison of many pairs from one of one pair."""

    def compare(pairs: Sequence[tuple[str, str]]) -> Sequence[float]:
        return [same(gold, answer) for gold, answer in pairs]

    return compare


def _objects(values: Sequence[str]) -> NDArray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _outcome(
    compare: Compare, golds: Sequence[str | None], answers: Sequence[str | None], silent: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Compare each different pair once."""
    out = np.full(len(golds), np.nan, dtype=np.float32)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (gold, answer) in enumerate(zip(golds, answers, strict=True)):
        if gold is None or silent[row]:
            continue
        if answer is None:
            out[row] = 0.0
        else:
            rows.setdefault((gold, answer), []).append(row)
    for places, value in zip(rows.values(), compare(list(rows)), strict=True):
        out[places] = value
    return out
