"""From intervals to a label: the first rule that holds. Pure, and the only place where thresholds stand.

    no change    the gain's interval lies within +-NO_CHANGE and coverage is kept
    narrowed     no gain (its interval does not lie above 0) and coverage lost beyond the null
    undecided    the gain's interval contains 0, or lies below it: there is no gain to divide
    mixed        lower limits of created and deployed share both >= MIXED_SHARE
    created      lower limit of the created share >= OWN_SHARE
    deployed     lower limit of the deployed share >= OWN_SHARE
    undecided    else (the undecided mass U counts against both, being in the denominator of the shares)

Coverage compares the problems solved within K draws with the replicate null, in excess of which problems are
gained or lost:

    narrowed     problems lost beyond the null (its interval above 0, and at least ONE_PROBLEM of them), and
                 none gained, or fewer gained than lost
    expanded     the mirror image
    kept         neither, and no more than COVERAGE_MARGIN of the problems can have been lost or gained
    undecided    else

Where the design is silent: a gain whose interval lies *below* 0 without lost coverage (the tuned policy
answers less often what it still answers) is ``undecided`` as a label, since nothing was gained that could
have been deployed or created; the sentence beside it says that success fell. Source: ours (docs/verdict.md).
"""

from __future__ import annotations

import math

from keyturn.core.measurement import Estimate
from keyturn.measures.verdict import Coverage, Label

NO_CHANGE = 0.03
"""Smallest gain of interest: below it three problems in a hundred are at stake, less than most seeds move."""

MIXED_SHARE = 0.2
"""A fifth of the gain for sure is too much to be left out of a verdict's name."""

OWN_SHARE = 0.5
"""More than half of the gain for sure: the smallest share that no other class can beat."""

COVERAGE_MARGIN = 0.1
"""Coverage is kept if at most one problem in ten can have been lost or gained: three of a cell of 32, where
five is the fewest that an exact McNemar test can tell from none."""


COVERAGE_LEVEL = 0.99
"""Confidence of the coverage intervals: gained and lost are two further tests on the draws that the gain
was already tested on, and a self-audit must pass all three in 95 of 100."""

ONE_PROBLEM = 1.0
"""Less than one problem in excess of the null changes no set of problems, however sure the excess is."""


def lies_above_zero(estimate: Estimate) -> bool:
    """Whether the whole interval is above 0 (false where there is no interval)."""
    return estimate.low > 0


def coverage_of(gained: Estimate, lost: Estimate, net: Estimate, problems: int) -> Coverage:
    """The coverage label from excesses over the replicate null.

    Args:
        gained: share of problems that only the tuned policy solves, less the null's.
        lost: share of problems that only the base solves, less the null's.
        net: tuned coverage less base coverage.
        problems: how many there are.
    """
    more = lies_above_zero(gained) and gained.value * problems >= ONE_PROBLEM
    less = lies_above_zero(lost) and lost.value * problems >= ONE_PROBLEM
    if less and (not more or net.high < 0):
        return "narrowed"
    if more and (not less or net.low > 0):
        return "expanded"
    # A NaN limit compares false: without an interval nothing is kept.
    if not more and not less and gained.high <= COVERAGE_MARGIN and lost.high <= COVERAGE_MARGIN:
        return "kept"
    return "undecided"


def label_of(gain: Estimate, deployed: Estimate, created: Estimate, coverage: Coverage) -> Label:
    """The label from the gain, the shares of it, and the coverage.

    Args:
        gain: tuned less base success.
        deployed, created: shares of the gain; NaN where they do not exist.
        coverage: from :func:`coverage_of`.
    """
    if math.isnan(gain.low) or math.isnan(gain.high):
        return "undecided"
    if gain.low >= -NO_CHANGE and gain.high <= NO_CHANGE and coverage == "kept":
        return "no change"
    if not lies_above_zero(gain):
        return "narrowed" if coverage == "narrowed" else "undecided"
    if created.low >= MIXED_SHARE and deployed.low >= MIXED_SHARE:
        return "mixed"
    if created.low >= OWN_SHARE:
        return "created"
    if deployed.low >= OWN_SHARE:
        return "deployed"
    return "undecided"
