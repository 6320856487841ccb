"""Format against capability: the same policies scored strictly, leniently and after a few-shot format prompt.

To a strict grader, a base that cannot do the task looks like one that does not know the requested format. The
few-shot prompt shows the format with sums that any model can do, without a teacher's trace or any information
about an answer. So its gain over plain sampling is due to format, and problems that it reaches count as
elicited. A base usually continues with a next question, and its text from there on is cut off before grading,
as by a stop string. Source: ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.measurement import Measurement
from keyturn.core.problem import Problem
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.lab.lab import Lab
from keyturn.measures.classes import classify
from keyturn.measures.contract import Tables
from keyturn.measures.draws import draws_of
from keyturn.measures.verdict import REACHABLE
from keyturn.policies.client import ServerPolicy
from keyturn.policies.context import context_length
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet, answers
from keyturn.problems.examples import NEXT_QUESTION, solved
from keyturn.rollouts.grades import Answers

SUMS = (
    ("What is 2 plus 3?", "2 + 3 = 5.", "5"),
    ("There are 4 birds and 2 fly away. How many are left?", "4 - 2 = 2.", "2"),
    ("What is 6 times 3?", "6 * 3 = 18.", "18"),
)
"""Questions, work and answers that show only the format."""

LEAST_ROOM = 0.5
"""Minimum share of a plain completion's tokens for which the longer prompts must leave room; otherwise the
few-shot draws would measure the context's size and not the format."""

NEXT = f"\n{NEXT_QUESTION}"
"""What ends a draw under the format prompt."""

_NEXT = re.compile(rf"\n\s*{NEXT_QUESTION}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Elicited:
    """The few-shot draws of one audit.

    Args:
        reached: problems that the base reaches under the format prompt at K draws, bool ``[problem]``.
        tables: graded few-shot draws by policy.
    """

    reached: NDArray[np.bool_]
    tables: dict[str, Answers]


def few_shot(problems: Sequence[Problem], form: str) -> tuple[Problem, ...]:
    """Problems whose prompts begin with solved sums in the requested format.

    Args:
        problems: the problems.
        form: template of a completion that the grader reads, with ``{answer}`` and perhaps ``{work}``.
    """
    shots = "".join(solved(question, form.format(work=work, answer=answer)) for question, work, answer in SUMS)

    def behind(text: str) -> str:
        return shots + solved(text, "")

    return tuple(
        replace(p, prompt=behind(p.prompt), messages=last_of_user(p.messages, behind)) for p in problems
    )


def last_of_user(
    messages: tuple[tuple[str, str], ...], change: Callable[[str], str]
) -> tuple[tuple[str, str], ...]:
    """Messages with the last one of the user's changed: what stands before it keeps its role.

    Args:
        messages: ``(role, text)`` each; without any, none are made.
        change: the text of that message, as it was -> as it is to be.
    """
    place = max((i for i, (role, _) in enumerate(messages) if role == "user"), default=-1)
    return tuple((role, change(text) if i == place else text) for i, (role, text) in enumerate(messages))


def leaves_room(policy: Policy, problems: Sequence[Problem], form: str, limits: Limits) -> bool:
    """Whether every prompt with its solved sums leaves a policy :data:`LEAST_ROOM` for its answer."""
    context = context_length(policy.model) if isinstance(policy, LocalPolicy) else None
    if context is None or not isinstance(policy, LocalPolicy):
        return True
    try:
        longer = np.diff(policy.prompts(few_shot(problems, form)).offsets)
    except InputError:
        return False
    plain = np.diff(policy.prompts(problems).offsets)
    wanted = np.minimum(context - plain, limits.max_new_tokens)
    return bool((context - longer >= LEAST_ROOM * wanted).all())


def without_next_question(text: str) -> str:
    """A completion up to the point where the policy asks itself a next question."""
    return _NEXT.split(text, maxsplit=1)[0]


def elicit_format(
    lab: Lab, policies: Mapping[str, Policy], problem_set: ProblemSet, form: str, k: int, limits: Limits
) -> Elicited:
    """Draw both policies under the format prompt, K times per problem, and grade their answers.

    Args:
        lab: the run directory.
        policies: the policies, ``base`` among them.
        problem_set: the problems and their grader.
        form: see :func:`few_shot`.
        k: draws per problem; the budget that decides whether a problem is reached.
        limits: length and batch limits.
    """
    asked = few_shot(problem_set.problems, form)
    tables: dict[str, Answers] = {}
    for name, policy in policies.items():
        # A policy of another kind draws on, and what it writes from there on is cut off all the same.
        asking = policy.having(stops=[NEXT]) if isinstance(policy, LocalPolicy | ServerPolicy) else policy
        stage, drawn = lab.draw(asking, asked, range(k), limits, name=f"few-shot format {name}")
        drawn = replace(drawn, texts=tuple(without_next_question(text) for text in drawn.texts))
        _, grades = lab.grade(problem_set.grader, asked, drawn, stage, name="grade")
        tables[name] = answers(name, problem_set.problems, drawn, grades)
    n, c = tables["base"].counts()
    reached = classify(c, n, [max(k, 2)])[:, 0] == REACHABLE
    return Elicited(reached=reached, tables=tables)


def format_measurements(tables: Tables) -> tuple[Measurement, ...]:
    """pass@1 of every policy under strict, lenient and format-elicited scoring.

    The lenient and elicited scores are compared with the strict one: if they agree, the format was no obstacle.
    Empty if the grader reads traces (its verdict is on the trace, in its one format).
    """
    plain = {"base": tables.paired.base, "tuned": tables.paired.tuned}
    found: list[Measurement] = []
    for policy, table in plain.items():
        if "lenient" not in table.columns:
            continue
        lenient = np.asarray(table.columns["lenient"], dtype=np.float32)
        scores = {"strict": draws_of(table).rate, "lenient": draws_of(table, lenient).rate}
        if policy in tables.formats:
            scores["few-shot format"] = draws_of(tables.formats[policy]).rate
        for scoring, rates in scores.items():
            mean = bootstrap_mean(
                rates, tables.streams.generator("formats", policy, scoring), bounds=(0.0, 1.0)
            )
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
