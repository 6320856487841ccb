"""Answers and their critiques, written by a world's verifier, a file, another policy or the policy itself.

A case is a problem, an answer drawn from the base (right or wrong), and a critique of it. Who wrote the
critique:

* ``world``: the verifier's verdict in the world's words (:mod:`keyturn.problems.world.critique`), deliberately
  wrong at a declared rate;
* ``file``: the problems' own facts ``candidate`` and ``critique`` (for several per problem, records with ids);
* ``critic``: the policy of that slot, asked in plain words; a critique whose verdict differs from the grader's
  is dropped;
* ``self``: the base itself with the grader's verdict: only the base's knowledge and the verdict enter.

Degenerate: it is an error if no critique is left.
Source: critique fine-tuning, Wang, Yue & Chen 2025 (2501.17703); candidates of one problem, several critiques,
filtered for consistency: Wang et al. 2025 (2506.03295).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.contract import World
from keyturn.problems.world.critique import MARKER, critique
from keyturn.problems.world.vocabulary import BACK, OK, decode
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

Writer: TypeAlias = Literal["auto", "world", "file", "critic", "self"]
"""Who wrote the critiques; ``auto`` takes the first one available, in this order."""

HEADING = "Corrected solution:"
"""The heading that a critic writes before the solution."""
ASKED = (
    "{problem}\n\nA proposed solution:\n{candidate}\n\nCheck it step by step. If it is wrong, give the right "
    f"one under '{HEADING}'. End with 'Verdict: right' or 'Verdict: wrong'."
)
"""The request for a critique in plain words."""
_VERDICT = re.compile(r"verdict:\s*(right|wrong)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A problem, an answer and a critique of it.

    Args:
        problem: what was asked.
        candidate: the answer, as text.
        right: whether the grader finds it right; None if unknown.
        formed: whether an answer could be extracted from it.
        context: problem and answer, which the critique follows.
        critique: its text.
        stripped: the critique without the solution.
    """

    problem: Problem
    candidate: str
    right: bool | None
    formed: bool
    context: Problem
    critique: str
    stripped: str


def writer_of(task: Task, wanted: Writer) -> Writer:
    """The writer of a task's critiques.

    Raises:
        UsageError: the requested writer is not available.
    """
    there: dict[Writer, bool] = {
        "world": task.world is not None,
        "file": any("critique" in problem.facts for problem in task.train.problems),
        "critic": "critic" in task.others,
        "self": True,
    }
    if wanted == "auto":
        return next(name for name, has in there.items() if has)
    if not there.get(wanted, False):
        raise UsageError(
            f"there are no critiques by {wanted!r}",
            fix="a world, problems with columns 'candidate' and 'critique', --critic MODEL, or 'self'",
        )
    return wanted


def cases(
    session: Session,
    asked: ProblemSet,
    *,
    writer: Writer,
    candidates: int,
    correctness: float = 1.0,
    critique_tokens: int = 512,
) -> list[Case]:
    """The base's answers to some problems, each with its critique, in a fixed order.

    Args:
        lab: the run directory.
        task: base and further policies.
        asked: the problems.
        writer: who writes, see :func:`writer_of`.
        candidates: answers per problem.
        correctness: share of the world's critiques that are right.
        critique_tokens: length limit of a drawn critique.

    Raises:
        InputError: no critique is left.
    """
    if writer == "file":
        found = [_filed(problem) for problem in asked.problems if "critique" in problem.facts]
    else:
        given, grades = session.draw(session.base, asked, candidates, name="candidates")
        streams = session.streams.child("critiques")
        if writer == "world":
            assert session.task.world is not None, "writer_of looked"
            found = _by_world(session.task.world, asked.problems, given, grades, streams, correctness)
        elif writer == "self" and session.task.world is not None:
            found = _by_redraw(asked.problems, given, grades)
        else:
            who = session.task.others["critic"] if writer == "critic" else session.task.base
            found = _by_policy(
                session.lab, who, asked.problems, given, grades, critique_tokens, own=writer == "self"
            )
    if not found:
        raise InputError(
            f"no critique by {writer!r} is left after {len(asked.problems)} problems", fix="more candidates"
        )
    return found


def contradicted(found: Sequence[Case]) -> list[Case]:
    """Every answer with another answer's critique, of another problem unless one problem has half of the cases.

    Raises:
        InputError: fewer than two cases.
    """
    if len(found) < 2:
        raise InputError("shuffling needs at least two cases", fix="raise candidates")
    order = sorted(range(len(found)), key=lambda index: found[index].problem.id)
    half = len(order) // 2
    partner = {order[i]: order[(i + half) % len(order)] for i in range(len(order))}
    return [
        replace(case, critique=found[partner[i]].critique, stripped=found[partner[i]].stripped)
        for i, case in enumerate(found)
    ]


def verdict_in(text: str) -> bool | None:
    """The last verdict of a critique in plain words: True for right, False for wrong, None without a
    verdict."""
    found = _VERDICT.findall(text)
    return found[-1].lower() == "right" if found else None


def without_solution(text: str) -> str:
    """A critique in plain words without its solution; the verdict stays."""
    head, heading, rest = text.partition(HEADING)
    if not heading:
        return text
    said = list(_VERDICT.finditer(rest))
    return head.rstrip() + (f"\n{said[-1].group()}" if said else "")


def _right(grades: Grades) -> np.ndarray:
    return grades.verified if np.isfinite(grades.verified).any() else grades.outcome


def _context(problem: Problem, number: int, candidate: str, *, world: bool) -> Problem:
    text = f"{problem.prompt} {candidate} {MARKER}" if world else ""
    text = text or ASKED.format_map({"problem": problem.prompt, "candidate": candidate})
    return Problem(id=f"{problem.id} critique {number}", prompt=text)


def _case(
    problems: tuple[Problem, ...],
    given: Completions,
    grades: Grades,
    row: int,
    said: str,
    stripped: str,
    world: bool,
) -> Case:
    problem, value = problems[int(given.problem[row])], float(_right(grades)[row])
    candidate = given.texts[row]
    return Case(
        problem=problem,
        candidate=candidate,
        right=None if np.isnan(value) else value >= 1.0,
        formed=bool(grades.answer[row]),
        context=_context(problem, int(given.draw[row]), candidate, world=world),
        critique=said,
        stripped=stripped,
    )


def _by_world(
    world: World,
    problems: tuple[Problem, ...],
    given: Completions,
    grades: Grades,
    streams: Streams,
    correctness: float,
) -> list[Case]:
    found = []
    for row in range(len(given)):
        problem = problems[int(given.problem[row])]
        own = streams.child(problem.id, int(given.draw[row]))
        right = own.generator("correct").random() < correctness
        ended = given.stop[row] == Stop.EOS
        said = critique(world, problem, given.texts[row], own, ended=ended, right=right)
        found.append(_case(problems, given, grades, row, said.text(), said.text(stripped=True), True))
    return found


def _by_redraw(problems: tuple[Problem, ...], given: Completions, grades: Grades) -> list[Case]:
    """A world's base has never seen a critique, so its own next answer stands in for one."""
    found, right = [], _right(grades)
    for row in range(len(given)):
        own = np.flatnonzero(given.problem == given.problem[row])
        again = int(own[(int(np.flatnonzero(own == row)[0]) + 1) % len(own)])
        verdict = decode([OK if right[row] >= 1.0 else BACK])
        found.append(_case(problems, given, grades, row, f"{given.texts[again]} {verdict}", verdict, True))
    return found


def _by_policy(
    lab: Lab,
    who: Policy,
    problems: tuple[Problem, ...],
    given: Completions,
    grades: Grades,
    tokens: int,
    *,
    own: bool,
) -> list[Case]:
    blank = [_case(problems, given, grades, row, "", "", False) for row in range(len(given))]
    blank = [case for case in blank if case.right is not None]
    limits = Limits(max_new_tokens=tokens)
    _, said = lab.draw(who, [case.context for case in blank], range(1), limits, name="critiques")
    found = []
    for case, text in zip(blank, said.texts, strict=True):
        if own:
            text = f"{_VERDICT.sub('', text).rstrip()}\nVerdict: {'right' if case.right else 'wrong'}"
        elif verdict_in(text) is not case.right:
            continue
        found.append(replace(case, critique=text, stripped=without_solution(text)))
    return found


def _filed(problem: Problem) -> Case:
    if "candidate" not in problem.facts:
        raise InputError(
            f"problem {problem.id} has a critique but not the answer that it criticises",
            fix="a column 'candidate'",
        )
    said, candidate = str(problem.facts["critique"]), str(problem.facts["candidate"])
    return Case(
        problem=problem,
        candidate=candidate,
        right=verdict_in(said),
        formed=bool(candidate.strip()),
        context=_context(problem, 0, candidate, world=False),
        critique=said,
        stripped=without_solution(said),
    )
