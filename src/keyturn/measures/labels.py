"""From intervals to a label: the first rule that holds. Pure, and the only place where its thresholds stand.

    nothing measured   a side cannot be told from always failing (or always succeeding), or answers were cut
    undecided          fewer problems than LEAST_PROBLEMS, or no interval
    no change          the gain's interval lies within +-NO_CHANGE and coverage is kept
    narrowed           no gain (within +-NO_CHANGE, or not surely above 0), and pass@k surely lower at large k
    undecided          the gain's interval lies within +-NO_CHANGE: too little to divide
    worse              the gain's interval lies below 0
    undecided          the gain's interval contains 0
    mixed              the lower limits of the created and the deployed share are both >= MIXED_SHARE
    created            the lower limit of the created share is >= OWN_SHARE
    deployed           the lower limit of the deployed share is >= OWN_SHARE
    undecided          else (the undecided mass U is in the denominator of the shares: it counts against both)

The created share here counts the problems that the base does not solve within K draws, and those that it
solves no better than by chance, where that is established (``estimates``). Coverage is the statement of
``coverage_statement``. Source: ours (docs/verdict.md).
"""

from __future__ import annotations

import math

import numpy as np

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import number
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import Coverage, CoverageLabel, Label

NO_CHANGE = 0.03
"""Smallest gain of interest: three problems in a hundred, less than what most changes of the seed move."""

MIXED_SHARE = 0.2
"""A share that is surely a fifth of the gain is too large to be left out of the label."""

OWN_SHARE = 0.5
"""A share that is surely half of the gain: the smallest that no other class can exceed."""

LEAST_PROBLEMS = 12
"""Fewer problems get no label: docs/results/operating_characteristic.md measures how often it would be
wrong."""

EDGE = 0.01
"""Success within 1 % of never or always: what is left to compare is less than the errors of a grader."""

COVERAGE_MARGIN = 0.125
"""Coverage is kept if it moves by less than one problem in eight: three of a cell of 24, where five is the
fewest that an exact McNemar test can tell from none."""

MOSTLY_CUT = 0.5
"""Where half of the completions end at the length limit, it is the limit that was measured."""


def lies_above_zero(estimate: Estimate) -> bool:
    """Whether the whole interval is above 0 (false where there is no interval)."""
    return estimate.low > 0


def nothing_measured(counts: PairedCounts, coverage: Coverage) -> str:
    """Why these draws measure nothing, as the rest of a sentence; empty where they measure something.

    Args:
        counts: what was drawn, at least one graded draw of both policies per problem.
        coverage: the statement over all k: rare success can still be a matter of many draws.
    """
    if not len(counts.base):
        return ""
    for name, cut in (("base", counts.base_cut), ("tuned policy", counts.tuned_cut)):
        share = _mean(cut)
        if share >= MOSTLY_CUT:
            return (
                f"{number(share)} of the completions of the {name} were cut at the length limit; "
                "raise --max-new-tokens"
            )
    for name, failed in (("base", counts.base_failed), ("tuned policy", counts.tuned_failed)):
        share = _mean(failed)
        if share >= MOSTLY_CUT:
            return f"{number(share)} of the draws of the {name} have no verdict; draw or grade them again"
    base, tuned = float(np.mean(counts.base.rate)), float(np.mean(counts.tuned.rate))
    unread = (("base", base, counts.base_lenient), ("tuned policy", tuned, counts.tuned_lenient))
    for name, strict, lenient in unread:
        if max(base, tuned) > EDGE >= strict and _mean(lenient) > 5 * EDGE:
            return (
                f"the {name} is never right as graded, and in {number(_mean(lenient))} of its draws under "
                "lenient extraction: the grader cannot read its answers; try another --grader"
            )
    shown = f"{number(base, small=True)} and {number(tuned, small=True)}"
    if max(base, tuned) <= EDGE and coverage.largest < COVERAGE_MARGIN:
        return f"neither policy succeeds ({shown}){_lenient_reason(counts)}"
    if min(base, tuned) >= 1 - EDGE:
        return f"both policies always succeed ({shown}): these problems are too easy to tell"
    return ""


def _lenient_reason(counts: PairedCounts) -> str:
    base, tuned = _mean(counts.base_lenient), _mean(counts.tuned_lenient)
    if max(base, tuned) > 5 * EDGE:
        return (
            f", but lenient extraction finds right answers ({number(base)} and {number(tuned)}): "
            "the grader does not read the format of the answers; try another --grader"
        )
    return ": these problems are too hard to tell, or the grader cannot read these answers"


def _mean(column: np.ndarray | None) -> float:
    if column is None or not np.isfinite(column).any():
        return 0.0
    return float(np.nanmean(column))


def label_of(
    gain: Estimate, deployed: Estimate, created: Estimate, coverage: CoverageLabel, problems: int
) -> Label:
    """The label of something measured.

    Args:
        gain: tuned less base success.
        deployed, created: shares of the gain; NaN where they do not exist.
        coverage: label of the coverage statement.
        problems: how many there are (clusters, where those are the sampling unit).
    """
    if problems < LEAST_PROBLEMS or math.isnan(gain.low) or math.isnan(gain.high):
        return "undecided"
    small = gain.low >= -NO_CHANGE and gain.high <= NO_CHANGE
    if small and coverage == "kept":
        return "no change"
    if small or not lies_above_zero(gain):
        if coverage == "narrowed":
            return "narrowed"
        return "worse" if gain.high < 0 and not small else "undecided"
    if created.low >= MIXED_SHARE and deployed.low >= MIXED_SHARE:
        return "mixed"
    if created.low >= OWN_SHARE:
        return "created"
    if deployed.low >= OWN_SHARE:
        return "deployed"
    return "undecided"
