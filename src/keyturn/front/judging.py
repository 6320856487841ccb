"""``keyturn.judge``: a verdict from counts or graded answers alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keyturn.auditing.sample_pair import drawn_too_seldom, sample_pair
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.front.options import spelled
from keyturn.measures.deployed_created import judge as verdict_of
from keyturn.measures.estimates import SMALLEST_K
from keyturn.measures.paired import Paired
from keyturn.measures.verdict import Verdict
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers import Columns


def judge(
    base: Any,
    tuned: Any,
    *,
    k: int = 64,
    grader: str = "auto",
    draws_independent: bool = False,
    columns: Columns = Columns(),  # noqa: B008
    seed: int = 0,
) -> Verdict:
    """Compute the verdict alone: no model, no run directory, no other measure. An audit gives the same label.

    Args:
        base: samples of the policy before post-training: counts ``{problem: (right, drawn)}``, verdicts
            ``{problem: [True, False, ...]}``, an array ``[problem, draw]`` of truth values, a data frame, a
            list of records, a file; or :class:`~keyturn.rollouts.grades.Answers`.
        tuned: samples of the policy after post-training, in the same forms.
        k: budget K: what the base does within K draws, it could already do.
        grader: how answers are graded; ``auto``: as the samples say, or else by their gold answers.
        draws_independent: count every draw, even where draws look like copies of each other.
        columns: column names, for samples that do not use the known ones.
        seed: root of the intervals' randomness.

    Raises:
        KeyturnError: the samples cannot be read, graded or compared.
    """
    if k < SMALLEST_K:
        raise UsageError(f"{spelled('k')} is {k}", fix=f"at least {SMALLEST_K}: at K = 1 nothing is classified")
    streams = Streams(seed).child("measure", "samples")
    if isinstance(base, Answers) and isinstance(tuned, Answers):
        paired = Paired(base=base, tuned=tuned)
    else:
        read = sample_pair((base, tuned), columns=columns, grader=grader, independent=draws_independent)
        paired = Paired(base=read.found.base, tuned=read.found.tuned)
    keys = tuple(sorted({key for problem in paired.problems for key in problem.cell}))
    found = verdict_of(paired.counts(cell_keys=keys), streams=streams, k=k)
    return replace(found, cautions=(*drawn_too_seldom(paired.base, k), *found.cautions))
