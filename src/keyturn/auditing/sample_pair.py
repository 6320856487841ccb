"""Reads and grades two tables of samples, removes copies, and restricts both to their common problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.auditing import audit_settings, copy_removal
from keyturn.auditing.side_kinds import SIDES
from keyturn.auditing.sides import problems_in, samples_in
from keyturn.core.errors import UsageError
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.measures.draws import draws_of
from keyturn.measures.estimates import lowered_budget
from keyturn.measures.verdict import Caution
from keyturn.measures.wording import counted
from keyturn.problems.files import choose_grader, grade_samples, known_grader
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers import Columns, PairedSamples, Samples, pair


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplePair:
    """What two tables of samples provide for an audit.

    Args:
        found: the answers of both on their common problems.
        sources: what the tables are called.
        fingerprints: a hash of each table's file or content.
        graders: the grader that judged each table.
        copies: one sentence for each group of copies that was counted once, or was found but counted in full.
    """

    found: PairedSamples
    sources: tuple[str, str]
    fingerprints: tuple[str, str]
    graders: tuple[str, str]
    copies: tuple[str, ...]


def sample_pair(
    sources: tuple[Any, Any],
    *,
    columns: Columns = Columns(),  # noqa: B008
    grader: str = "auto",
    problems: Any = None,
    independent: bool = False,
) -> SamplePair:
    """Read, grade and pair two tables of samples.

    Args:
        sources: base and tuned; each is what :func:`~keyturn.auditing.sides.samples_in` takes.
        columns: column names, for samples that do not use the known ones.
        grader: how answers are graded; ``auto``: as the samples say, or else by their gold answers.
        problems: problems with the gold answers, if the samples lack them; or None.
        independent: count every draw, even where draws look like copies of each other.

    Raises:
        UsageError: the same table was given twice, or the grader is unknown.
        InputError: the samples cannot be read, graded or compared.
    """
    if sources[0] is sources[1] and not isinstance(sources[0], str | Path):
        raise UsageError(
            "one table was given as base and as tuned", fix="give the samples of the tuned policy second"
        )
    told = None if problems is None else problems_in(problems, grader)
    asked = () if told is None else told.problems
    base, tuned = (
        samples_in(one, columns, side, unjudged=problems is not None)
        for one, side in zip(sources, SIDES, strict=True)
    )
    judges = tuple(_judge(samples, grader, asked) for samples in (base, tuned))
    graded = [_graded(samples, judge, asked) for samples, judge in zip((base, tuned), judges, strict=True)]
    one, other, copies = copy_removal.remove_copies(graded[0], graded[1], independent=independent)
    hashes = [_fingerprint(value, read) for value, read in zip(sources, (base, tuned), strict=True)]
    said = [known_grader(name).name if name else "the file's own verdicts" for name in judges]
    found = pair(one, other)
    return SamplePair(
        found=found if told is None else replace(found, notes=(*found.notes, *told.notes)),
        sources=(base.source, tuned.source),
        fingerprints=(hashes[0], hashes[1]),
        graders=(said[0], said[1]),
        copies=copies,
    )


def drawn_too_seldom(base: Answers, k: int) -> tuple[Caution, ...]:
    """Problems with less than half as many draws as the others, if they lower K for all problems."""
    draws = draws_of(base)
    few = (draws.n > 0) & (2 * draws.n < np.quantile(draws.n, 0.9, method="lower"))
    now, without = lowered_budget(draws, k), lowered_budget(draws.at(~few), k)
    if not few.any() or without.k < 2 * now.shown:
        return ()
    names = [repr(base.problems[place].id[:40]) for place in np.flatnonzero(few)]
    text = (
        f"{len(names)} of {len(few)} problems have at most {counted(int(draws.n[few].max()), 'base draw')}, the"
        f" others at least {draws.n[~few & (draws.n > 0)].min()}: they lower K from {without.k} to {now.shown}"
        f" ({', '.join(names[:5])}{', …' if len(names) > 5 else ''}); draw them as often as the others, or"
        " leave them out of the file"
    )
    return (Caution(kind="few draws", text=text),)


def _judge(samples: Samples, grader: str, asked: Sequence[Problem]) -> str:
    """The grader that is named or that fits. Empty if the samples' own verdicts are used."""
    if grader == "auto":
        return "" if np.isfinite(samples.success).any() else choose_grader(asked or samples.problems())
    known_grader(grader)
    return grader


def _graded(samples: Samples, judge: str, asked: Sequence[Problem]) -> Samples:
    """Samples with the grades that they came with, or graded by a grader."""
    return grade_samples(samples, known_grader(judge), asked) if judge else samples


def _fingerprint(value: Any, read: Samples) -> str:
    """For a file, the first digits of its hash. For a table in memory, a hash of what was read from it."""
    if isinstance(value, str | Path | Samples):
        return audit_settings.fingerprint_of(read.source)
    columns = (read.problem, read.prompts, read.texts, read.gold, read.draw.tolist())
    return identity({"columns": columns, "success": [str(one) for one in read.success.tolist()]})
