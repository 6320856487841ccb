"""Format against capability: the same policies scored strictly, leniently and after a few-shot format prompt.

A base that cannot do the task and one that does not know how its answer is wanted look the same to a strict
grader. The few-shot arm shows the format on sums that any model does (no teacher's trace, no bit of an
answer), so what it gains over plain sampling is format, and problems it reaches count as elicited.
Source: research note on confounds (format against capability); ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement
from keyturn.core.problem import Problem
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.measures.classes import classify
from keyturn.measures.contract import Tables
from keyturn.measures.draws import draws_of
from keyturn.measures.verdict import REACHABLE
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet, answers
from keyturn.rollouts.grades import Answers
from keyturn.studies.lab import Lab

SUMS = (
    ("What is 2 plus 3?", "2 + 3 = 5.", "5"),
    ("There are 4 birds and 2 fly away. How many are left?", "4 - 2 = 2.", "2"),
    ("What is 6 times 3?", "6 * 3 = 18.", "18"),
)
"""Questions that carry the format and nothing else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Elicited:
    """The few-shot arm of one audit.

    Args:
        reached: problems that the base reaches under the format prompt at K draws, bool ``[problem]``.
        tables: graded few-shot draws by policy.
    """

    reached: NDArray[np.bool_]
    tables: dict[str, Answers]


def few_shot(problems: Sequence[Problem], form: str) -> tuple[Problem, ...]:
    """Problems whose prompts begin with solved sums in the wanted format.

    Args:
        problems: what is asked.
        form: how the grader wants an answer written, with ``{answer}`` in it.
    """
    shots = "".join(
        f"Question: {question}\nAnswer: {work} {form.format(answer=answer)}\n\n"
        for question, work, answer in SUMS
    )
    return tuple(replace(p, prompt=f"{shots}Question: {p.prompt}\nAnswer:") for p in problems)


def elicit_format(
    lab: Lab, policies: dict[str, Policy], problem_set: ProblemSet, form: str, k: int, limits: Limits
) -> Elicited:
    """Draw both policies under the format prompt, K times a problem, and grade as always."""
    asked = few_shot(problem_set.problems, form)
    tables: dict[str, Answers] = {}
    for name, policy in policies.items():
        stage, drawn = lab.draw(policy, asked, range(k), limits, name=f"few-shot format {name}")
        _, grades = lab.grade(problem_set.grader, asked, drawn, stage, name="grade")
        tables[name] = answers(name, problem_set.problems, drawn, grades)
    n, c = tables["base"].counts()
    reached = classify(c, n, [max(k, 2)])[:, 0] == REACHABLE
    return Elicited(reached=reached, tables=tables)


def format_measurements(tables: Tables) -> tuple[Measurement, ...]:
    """pass@1 of every policy under strict, lenient and format-elicited scoring.

    The lenient and elicited scores are read against the strict one beside them: where they agree the format
    was not in the way. Empty where a grader reads traces (its verdict is on the trace, in its one format).
    """
    plain = {"base": tables.base, "tuned": tables.tuned}
    found: list[Measurement] = []
    for policy, table in plain.items():
        if table is None or "lenient" not in table.columns:
            continue
        lenient = np.asarray(table.columns["lenient"], dtype=np.float32)
        scores = {"strict": draws_of(table).rate, "lenient": draws_of(table, lenient).rate}
        if policy in tables.formats:
            scores["few-shot format"] = draws_of(tables.formats[policy]).rate
        for scoring, rates in scores.items():
            mean = bootstrap_mean(rates, tables.streams.generator("formats", policy, scoring))
            found.append(
                Measurement(
                    name="accuracy",
                    value=mean.value,
                    low=mean.low,
                    high=mean.high,
                    n=int(np.isfinite(rates).sum()),
                    unit="probability",
                    parameters={"policy": policy, "scoring": scoring},
                )
            )
    return tuple(found)
