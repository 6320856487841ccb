"""Abstractions at test time: m hints by the policy itself, k solutions of each, so m k answers cover more ways.

For each problem the policy is asked for ``abstractions`` hints ``z_1 ... z_m`` that do not give the answer.
Draw ``d`` is a solution of the problem behind ``z_i`` with ``i = (d // solutions) mod m``. With ``--draws`` of
``m k`` the success of any of them is pass@(m k), to be held against plain pass@(m k) at the same number of
draws; the cost of a hint is shared among its solutions. Nothing is trained. Where the law of
hints and the success behind each are known, the worth of every split of ``m k`` is computed
(``problems/world/split_value.py``): hints drawn independently are best with one solution each.

Controls: ``abstraction-mismatched`` gives the hint of a development problem, ``abstraction-alone`` leaves the
question out, which shows what the hint itself tells. ``leaks`` says whether the answer that was given stood in
the hint already.

Source: Qu et al. 2025, RLAD (2510.02263), without its training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.elicitation.asides import aside, asking, onto, same_answer
from keyturn.elicitation.choosing import positive
from keyturn.elicitation.contract import Asked, Costs, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of


@dataclass(frozen=True, kw_only=True)
class AbstractionConfig:
    """Settings of abstractions."""

    abstractions: int = 4
    """Hints for each problem."""
    solutions: int = 2
    """Draws that follow each other behind one hint."""
    request: str = "Write one useful fact or procedure for this question. Do not answer it."
    """Asks for a hint; empty: no hint is asked for or given."""
    lead: str = "A hint:"
    """Stands before the hint."""
    hint_tokens: int = 128
    """Most tokens of a hint."""


def answer(asked: Asked, config: AbstractionConfig, prepared: Prepared) -> Elicitation:
    """Solve behind the problem's own hints."""
    return _solved(asked, config, lambda problem: problem, alone=False)


def mismatched(asked: Asked, config: AbstractionConfig, prepared: Prepared) -> Elicitation:
    """Solve behind the hints of another problem."""
    if asked.development is None:
        raise UsageError("hints of other problems need development problems", fix="--development FILE")
    others = asked.development.problems

    def other(problem: Problem) -> Problem:
        return others[int(asked.streams.generator("mismatched", problem.id).integers(len(others)))]

    return _solved(asked, config, other, alone=False)


def alone(asked: Asked, config: AbstractionConfig, prepared: Prepared) -> Elicitation:
    """Answer from the hint without the question."""
    return _solved(asked, config, lambda problem: problem, alone=True)


def hint_of(draw: int, config: AbstractionConfig) -> int:
    """The number of the hint behind which a draw is made."""
    return (draw // config.solutions) % config.abstractions


def _solved(
    asked: Asked, config: AbstractionConfig, source: Callable[[Problem], Problem], *, alone: bool
) -> Elicitation:
    for name in ("abstractions", "solutions", "hint_tokens"):
        positive(getattr(config, name), f"--{name.replace('_', '-')}")
    problems = asked.problems.problems
    if not config.request.strip():
        drawn = asked.policy.draw(problems, asked.draws, asked.streams, asked.limits)
        return Elicitation(completions=drawn, costs=costs_of(drawn), facts={"leaks": np.zeros(len(drawn))})
    problem = np.repeat(np.arange(len(problems)), len(asked.draws))
    draw = np.tile(np.asarray(asked.draws), len(problems))
    wanted = [
        (index, hint_of(number, config)) for index, number in zip(problem.tolist(), draw.tolist(), strict=True)
    ]
    distinct = list(dict.fromkeys(wanted))
    asks = [asking(source(problems[index]), [config.request]) for index, _ in distinct]
    names = [f"{problems[index].id}~{number}" for index, number in distinct]
    hints = aside(asked, asks, names, "hint", config.hint_tokens)
    place = {key: number for number, key in enumerate(distinct)}
    which = np.array([place[key] for key in wanted], dtype=np.int64)
    solve = [
        _behind(problems[index], hints.texts[number], config.lead, alone=alone)
        for index, number in zip(problem.tolist(), which.tolist(), strict=True)
    ]
    rows = [
        f"{problems[index].id}#{number}" for index, number in zip(problem.tolist(), draw.tolist(), strict=True)
    ]
    solved = aside(asked, solve, rows, "solution")
    drawn = onto(asked, solved, problem.tolist(), draw.tolist())
    # A hint is paid for once by all the solutions behind it.
    shared = np.bincount(which, minlength=len(distinct))[which]
    paid = Costs(**{name: one[which] / shared for name, one in hints.costs.columns().items()})
    spread = replace(hints, drawn=hints.drawn.select(which))
    given = onto(asked, spread, problem.tolist(), draw.tolist())
    leaks: NDArray[np.float64] = same_answer(asked, given, asked.answers(drawn))
    return Elicitation(completions=drawn, costs=solved.costs + paid, facts={"leaks": leaks})


def _behind(problem: Problem, hint: str, lead: str, *, alone: bool) -> Problem:
    """The problem with a hint; alone, the hint in its place."""
    said = f"{lead} {hint.strip()}".strip()
    if alone:
        return replace(problem, prompt=f"{said}\n", messages=(("user", said),) if problem.messages else ())
    return asking(problem, [said])


METHOD = ElicitationMethod(
    name="abstraction",
    summary="the policy writes hints for a problem, and each draw is a solution behind one of them",
    source="Qu et al. 2025, arXiv 2510.02263, without its training",
    cost="one answer behind a hint, and half a hint",
    control=("abstraction-mismatched", "abstraction-alone", "plain"),
    config=AbstractionConfig(),
    neutral=AbstractionConfig(request=""),
    answer=answer,
)
MISMATCHED = replace(
    METHOD,
    name="abstraction-mismatched",
    summary="each draw is a solution behind a hint for another problem",
    source="ours",
    control=("abstraction",),
    controls=True,
    needs=frozenset({"development"}),
    answer=mismatched,
)
ALONE = replace(
    METHOD,
    name="abstraction-alone",
    summary="each draw answers from a hint without the question: what the hint itself tells",
    source="ours",
    control=("abstraction",),
    controls=True,
    answer=alone,
)
