"""Removes copies among draws before anything is counted, in sample files and in what a server returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.copies import Copies, find_copies, find_shared
from keyturn.rollouts.grades import Answers, TwoStages
from keyturn.rollouts.readers import Samples
from keyturn.rollouts.readers.records import split_selector

KEEP_COPIES = "--draws-independent"
"""The option that counts every draw of a sample file, whatever pattern of copies is found."""


def remove_copies(
    base: Samples, tuned: Samples, *, independent: bool
) -> tuple[Samples, Samples, tuple[str, ...]]:
    """Two sample files without their copies.

    Args:
        base: the base's graded draws.
        tuned: the tuned policy's graded draws.
        independent: the user states that all draws are independent. Copies are then reported, but not dropped.

    Returns:
        The draws that count, and one sentence for each finding.

    Raises:
        UsageError: the same file was given twice.
        InputError: both files hold the same draws.
    """
    said = _between(base, tuned)
    left: list[Samples] = []
    for samples in (base, tuned):
        place = {name: index for index, name in enumerate(dict.fromkeys(samples.problem))}
        problem = np.array([place[name] for name in samples.problem], dtype=np.int64)
        judged = np.isfinite(samples.success) & samples.answered
        contradicted = _contradicted(problem, samples)
        # If every row holds the same placeholder but the verdicts differ, the text does not identify draws.
        if contradicted and len(set(samples.texts)) == 1:
            left.append(samples)
            continue
        found = copies_among(problem, samples.texts, samples.draw, judged)
        if found is None:
            left.append(samples)
            continue
        way_out = "" if independent else f"; {KEEP_COPIES} counts all draws, if they are independent"
        said += [
            f"{samples.source}: {text}{way_out if kind == 'uniform' else ''}"
            for kind, text in zip(found.kinds, found.texts, strict=True)
        ]
        if contradicted:
            said.append(
                f"{samples.source}: equal texts of a problem have different verdicts; is the column with"
                " completions the right one? (--columns.completion)"
            )
        if independent:
            said.append(f"{samples.source}: every draw counts all the same, as {KEEP_COPIES} asks")
        left.append(samples if independent else _select(samples, found.keep))
    return left[0], left[1], tuple(said)


def remove_server_copies(
    name: str, completions: Completions, answers: Answers
) -> tuple[Answers, tuple[str, ...]]:
    """Answers without copies, for a policy whose draws are not ours (a server).

    Args:
        name: what the policy is called.
        completions: its draws.
        answers: the same rows, graded.
    """
    answered = completions.stop != Stop.ERROR
    found = copies_among(completions.problem, completions.texts, completions.draw, answered)
    if found is None:
        return answers, ()
    kept = answers.select(found.keep)
    if kept.two_stages is not None and not _stopped_rightly(kept, kept.two_stages):
        kept = replace(kept, two_stages=None)
    return kept, tuple(f"{name}: {text}" for text in found.texts)


def _stopped_rightly(answers: Answers, rule: TwoStages) -> bool:
    """Whether every problem without a second stage has enough successes in the first, not counting copies."""
    _, successes = answers.select(answers.draw < rule.first).counts()
    return bool((rule.went_on | (successes >= rule.enough)).all())


def copies_among(
    problem: NDArray[np.integer],
    texts: Sequence[str],
    draw: NDArray[np.integer],
    answered: NDArray[np.bool_],
) -> Copies | None:
    """Copies among the rows that hold an answer. Other rows (errors, ungraded ones) are left as they are."""
    rows = np.flatnonzero(answered)
    shown = [texts[row] for row in rows.tolist()]
    if not any(shown):
        return None
    found = find_copies(np.asarray(problem)[rows], shown, np.asarray(draw)[rows])
    if found is None:
        return None
    keep = np.ones(len(texts), dtype=np.bool_)
    keep[rows] = found.keep
    return Copies(kinds=found.kinds, keep=keep, texts=found.texts)


def _between(base: Samples, tuned: Samples) -> list[str]:
    """What the two files have in common, in words."""
    if _same_file(base.source, tuned.source):
        raise UsageError(
            f"{base.source} was given as base and as tuned", fix="give the file of the tuned policy second"
        )
    if not set(base.problem) & set(tuned.problem):
        base, tuned = base.by_prompt(), tuned.by_prompt()
    place = {name: index for index, name in enumerate(dict.fromkeys((*base.problem, *tuned.problem)))}
    tables = []
    for samples in (base, tuned):
        rows = np.flatnonzero(samples.answered).tolist()
        if len({samples.texts[row] for row in rows}) < 2:
            return []
        problem = np.array([place[samples.problem[row]] for row in rows], dtype=np.int64)
        tables.append((problem, [samples.texts[row] for row in rows], samples.draw[rows]))
    shared = find_shared(*tables)
    if shared is None:
        return []
    if shared.kind == "same":
        raise InputError(
            f"{base.source} and {tuned.source}: {shared.text}",
            fix="give the file of the tuned policy, or draw it again with another seed",
        )
    return [f"{base.source} and {tuned.source}: {shared.text}"]


def _select(samples: Samples, keep: NDArray[np.bool_]) -> Samples:
    """Some rows of a file: selects from every field that has one entry per row."""
    rows = np.flatnonzero(keep)
    changed: dict[str, object] = {
        "columns": {name: column[rows] for name, column in samples.columns.items()},
    }
    for field in fields(samples):
        value = getattr(samples, field.name)
        if isinstance(value, np.ndarray):
            changed[field.name] = value[rows]
        elif isinstance(value, tuple) and field.name != "notes":
            changed[field.name] = tuple(value[row] for row in rows)
    return replace(samples, **changed)


def _same_file(base: str, tuned: str) -> bool:
    """Whether two sources are the same file and the same policy in it."""
    (ours, which), (theirs, other) = split_selector(base), split_selector(tuned)
    return which == other and Path(ours).resolve() == Path(theirs).resolve()


def _contradicted(problem: NDArray[np.int64], samples: Samples) -> bool:
    """Whether the same text for the same problem is right in one row and wrong in another."""
    seen: dict[tuple[int, str], float] = {}
    for index, text, success in zip(problem.tolist(), samples.texts, samples.success.tolist(), strict=True):
        if success == success and seen.setdefault((index, text), success) != success:
            return True
    return False
