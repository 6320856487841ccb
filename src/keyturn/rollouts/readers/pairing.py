"""Two files of samples over the same problems: what a comparison may use, and what it had to drop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers.samples import Samples


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Base and tuned over the problems that both answered.

    Args:
        problems: the common problems, in the order of the base's file.
        base: the base's draws.
        tuned: the tuned policy's draws.
        dropped_base: problems that only the base answered.
        dropped_tuned: problems that only the tuned policy answered.
        ungraded_base: rows of the base without a verdict, among the common problems.
        ungraded_tuned: the same of the tuned policy.
        notes: what a reader of the result should know, one sentence each.
    """

    problems: tuple[Problem, ...]
    base: Answers
    tuned: Answers
    dropped_base: int
    dropped_tuned: int
    ungraded_base: int
    ungraded_tuned: int
    notes: tuple[str, ...] = ()


def pair(base: Samples, tuned: Samples) -> Pair:
    """The comparison of two files of samples.

    Problems are matched by id; where the files have no ids, by prompt. A problem of one file only is dropped
    and counted. Rows without a verdict stay and count as ungraded. Where only one file says whether traces
    are valid, answers alone are compared.

    Raises:
        InputError: no problem in common, different gold answers under one id, or nothing graded in a file.
    """
    ours = {problem.id: problem for problem in base.problems()}
    theirs = {problem.id: problem for problem in tuned.problems()}
    problems = _common(base, tuned, ours, theirs)
    tables = [_answers("base", base, problems), _answers("tuned", tuned, problems)]
    notes = [f"{samples.source}: {note}" for samples in (base, tuned) for note in samples.notes]
    if tables[0].reads_traces != tables[1].reads_traces:
        tables = [replace(table, verified=np.full_like(table.verified, np.nan)) for table in tables]
        notes.append("only one file says whether traces are valid: answers alone are compared")
    moved = sum(bool(p.prompt and theirs[p.id].prompt and p.prompt != theirs[p.id].prompt) for p in problems)
    if moved:
        notes.append(f"{moved} problems have the same id and different prompts in the two files")
    ungraded = []
    for table, samples, known in zip(tables, (base, tuned), (ours, theirs), strict=True):
        if not np.isfinite(table.success).any():
            raise InputError(
                f"{samples.source}: none of its {len(table)} completions is graded",
                fix="name a column with verdicts (--columns.success) or a grader (--grader)",
            )
        if len(known) > len(problems):
            notes.append(f"{len(known) - len(problems)} problems are only in {samples.source} and were dropped")
        ungraded.append(int(np.isnan(table.success).sum()))
        if ungraded[-1]:
            notes.append(f"{ungraded[-1]} of {len(table)} completions in {samples.source} are ungraded")
    return Pair(
        problems=problems,
        base=tables[0],
        tuned=tables[1],
        dropped_base=len(ours) - len(problems),
        dropped_tuned=len(theirs) - len(problems),
        ungraded_base=ungraded[0],
        ungraded_tuned=ungraded[1],
        notes=tuple(notes),
    )


def _common(
    base: Samples, tuned: Samples, ours: dict[str, Problem], theirs: dict[str, Problem]
) -> tuple[Problem, ...]:
    """Problems of both files, checked to be the same ones."""
    common = [problem for name, problem in ours.items() if name in theirs]
    if not common:
        raise InputError(
            f"{base.source} and {tuned.source} have no problem in common"
            f" ({_first(ours)} against {_first(theirs)})",
            fix="name the columns that identify a problem with --columns.problem or --columns.prompt",
        )
    for problem in common:
        mine, other = problem.golds, theirs[problem.id].golds
        if mine and other and set(mine) != set(other):
            raise InputError(
                f"problem {problem.id!r} has the gold answer {' or '.join(mine)[:60]!r} in {base.source}"
                f" and {' or '.join(other)[:60]!r} in {tuned.source}",
                fix="the ids mean different problems, or the column is an extracted answer: see --columns.gold",
            )
    return tuple(common)


def _answers(policy: str, samples: Samples, problems: tuple[Problem, ...]) -> Answers:
    place = {problem.id: index for index, problem in enumerate(problems)}
    rows = np.array([row for row, name in enumerate(samples.problem) if name in place], dtype=np.int64)
    problem = np.array([place[samples.problem[row]] for row in rows], dtype=np.int32)
    draws = np.bincount(problem, minlength=len(problems))
    return Answers(
        policy=policy,
        problems=problems,
        problem=problem,
        draw=samples.draw[rows],
        outcome=samples.success[rows],
        verified=samples.verified[rows],
        answer=tuple(samples.answer[row] for row in rows),
        length=samples.words[rows],
        truncated=samples.truncated[rows],
        columns={name: column[rows] for name, column in samples.columns.items()},
        k_max=int(draws.max()),
    )


def _first(problems: dict[str, Problem]) -> str:
    names = [repr(name[:40]) for name in list(problems)[:3]]
    return ", ".join(names)
