"""Two files of samples over the same problems: the rows that a comparison may use, and those that it drops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers.samples import Samples
from keyturn.rollouts.readers.values import as_compared, composed, same_gold


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedSamples:
    """Base and tuned over the problems that both answered.

    Args:
        problems: the common problems, in the order of the base's file.
        base: the base's draws.
        tuned: the tuned policy's draws.
        dropped_base: problems that only the base answered.
        dropped_tuned: problems that only the tuned policy answered.
        ungraded_base: number of the base's rows without a verdict, among the common problems.
        ungraded_tuned: the same for the tuned policy.
        notes: facts that a reader of the result should know, one sentence each.
    """

    problems: tuple[Problem, ...]
    base: Answers
    tuned: Answers
    dropped_base: int
    dropped_tuned: int
    ungraded_base: int
    ungraded_tuned: int
    notes: tuple[str, ...] = ()


def pair(base: Samples, tuned: Samples) -> PairedSamples:
    """The comparison of two files of samples.

    Problems are matched by id. If the files have no ids, or ids mean different problems in the two files, they
    are matched by prompt. A problem of one file only is dropped and counted. Rows without a verdict stay and
    count as ungraded. If only one file says whether traces are valid, answers alone are compared.

    Raises:
        InputError: there is no common problem, gold answers differ under one id, or a file has no graded row.
    """
    base, tuned, notes = _matched(base, tuned)
    ours = {problem.id: problem for problem in base.problems()}
    theirs = {problem.id: problem for problem in tuned.problems()}
    problems = tuple(problem for name, problem in ours.items() if name in theirs)
    if not problems:
        raise InputError(
            f"{base.source} and {tuned.source} have no problem in common"
            f" ({_first(ours)} against {_first(theirs)})",
            fix="name the columns that identify a problem with --columns.problem or --columns.prompt",
        )
    notes += [f"{samples.source}: {note}" for samples in (base, tuned) for note in samples.notes]
    notes += _same_problems(base, tuned, problems, theirs)
    tables = [_answers("base", base, problems), _answers("tuned", tuned, problems)]
    if tables[0].reads_traces != tables[1].reads_traces:
        tables = [replace(table, verified=np.full_like(table.verified, np.nan)) for table in tables]
        notes.append("only one file says whether traces are valid: answers alone are compared")
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
    return PairedSamples(
        problems=problems,
        base=tables[0],
        tuned=tables[1],
        dropped_base=len(ours) - len(problems),
        dropped_tuned=len(theirs) - len(problems),
        ungraded_base=ungraded[0],
        ungraded_tuned=ungraded[1],
        notes=tuple(notes),
    )


def _matched(base: Samples, tuned: Samples) -> tuple[Samples, Samples, list[str]]:
    """Both files under identities that mean the same problems.

    Raises:
        InputError: an id means different problems, and prompts do not identify them.
    """
    ours, theirs = _prompts(base), _prompts(tuned)
    under = {prompt: name for name, prompt in ours.items()}
    shared = [name for name, prompt in theirs.items() if prompt in under]
    moved = [name for name in shared if name in ours and under[theirs[name]] != name]
    if not moved and (any(name in ours for name in theirs) or not shared):
        return base, tuned, []
    unique = all(len(set(prompts.values())) == len(prompts) for prompts in (ours, theirs))
    if moved and not unique:
        name = moved[0]
        raise InputError(
            f"{len(moved)} of {len(theirs)} ids mean different problems in {tuned.source} and {base.source}"
            f" ({name!r}: {theirs[name][:40]!r} and {ours[name][:40]!r})",
            fix="identify problems by their prompts: --columns.problem prompt",
        )
    said = "ids mean different problems in the two files" if moved else "the files have no id in common"
    return base.by_prompt(), tuned.by_prompt(), [f"{said}: problems are matched by prompt"]


def _prompts(samples: Samples) -> dict[str, str]:
    """The prompt of each problem that has one, ignoring white space."""
    known = {problem.id: as_compared(problem.prompt) for problem in samples.problems()}
    return {name: prompt for name, prompt in known.items() if prompt}


def _same_problems(
    base: Samples, tuned: Samples, problems: tuple[Problem, ...], theirs: dict[str, Problem]
) -> list[str]:
    """Notes on differences between the files under one identity.

    Raises:
        InputError: gold answers differ, and prompts do not show that the problem is the same.
    """
    changed = sum(bool(p.prompt and theirs[p.id].prompt and not _alike(p, theirs[p.id])) for p in problems)
    said = f"{changed} problems have the same id and different prompts in the two files"
    notes = [said] if changed else []
    golds = [(p, p.golds, theirs[p.id].golds) for p in problems]
    torn = [p for p, ours, others in golds if ours and others and not same_gold(ours, others)]
    if not torn:
        return notes
    one, other = " or ".join(torn[0].golds)[:60], " or ".join(theirs[torn[0].id].golds)[:60]
    if all(p.prompt and _alike(p, theirs[p.id]) for p in torn):
        return [*notes, f"{len(torn)} problems have different gold answers in {tuned.source} and {base.source}"]
    raise InputError(
        f"{len(torn)} of {len(problems)} problems have different gold answers in {tuned.source}"
        f" and {base.source} (problem {torn[0].id!r}: {one!r} against {other!r})",
        fix="if the ids mean different problems: --columns.problem prompt;"
        " if the column holds the model's answers: --columns.answer NAME",
    )


def _alike(one: Problem, other: Problem) -> bool:
    return composed(one.prompt) == composed(other.prompt)


def _answers(policy: str, samples: Samples, problems: tuple[Problem, ...]) -> Answers:
    place = {problem.id: index for index, problem in enumerate(problems)}
    rows = np.array([row for row, name in enumerate(samples.problem) if name in place], dtype=np.int64)
    problem = np.array([place[samples.problem[row]] for row in rows], dtype=np.int32)
    return Answers(
        policy=policy,
        problems=problems,
        problem=problem,
        draw=samples.draw[rows],
        outcome=samples.success[rows],
        verified=samples.verified[rows],
        answer=tuple(samples.answer[row] for row in rows),
        length=np.where(samples.answered, samples.words, -1).astype(np.int32)[rows],
        truncated=samples.truncated[rows],
        columns={name: column[rows] for name, column in samples.columns.items()},
        length_in="words",
        cuts_known=samples.cuts_known,
    )


def _first(problems: dict[str, Problem]) -> str:
    names = [repr(name[:40]) for name in list(problems)[:3]]
    return ", ".join(names)
