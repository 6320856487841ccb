"""Reasons to distrust a verdict, and what would decide an undecided one, in words with their numbers.

Ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keyturn.core.numbers import number
from keyturn.measures.classes import classify
from keyturn.measures.estimates import DRAWS_PER_K, Budget, VerdictEstimates
from keyturn.measures.labels import EDGE, LEAST_PROBLEMS, NO_CHANGE, OWN_SHARE, lies_above_zero
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import AT_CHANCE, UNDECIDED, Caution
from keyturn.measures.wording import counted

WORTH_SAYING = 0.05
"""Share of completions from which truncation, or a difference between two gradings, gets a caution."""

FEW_PROBLEMS = 24
"""Fewer problems than this get a caution beside the label."""

TIMES = (2, 4, 8, 16, 32)
"""Multiples of the base's draws that are tried out."""


def cautions_of(
    counts: PairedCounts, estimates: VerdictEstimates, budget: Budget, classes: NDArray[np.int8]
) -> tuple[Caution, ...]:
    """Reasons to distrust a verdict, most serious first."""
    if not len(classes):
        return ()
    found = [Caution(kind="nothing measured", text=estimates.nothing)] if estimates.nothing else []
    found += [*_lost(counts), *_format(counts), *_edges(estimates)]
    problems = counted(len(classes), "problem")
    if len(classes) < FEW_PROBLEMS:
        few = f"{problems}: intervals are wide, and a label needs at least {LEAST_PROBLEMS}"
        found.append(Caution(kind="few problems", text=few))
    lucky = int((classes == AT_CHANCE).sum())
    if lucky:
        chance = f"the base solves {lucky} of {problems} no better than by chance"
        found.append(Caution(kind="chance", text=chance))
    if budget.decidable and budget.k < budget.asked:
        lowered = f"K was lowered from {budget.asked} to {budget.k}, a third of {budget.draws} base draws"
        found.append(Caution(kind="few draws", text=lowered))
    return tuple(found)


def _lost(counts: PairedCounts) -> Iterator[Caution]:
    """Draws without a verdict, and draws that were cut, of either policy."""
    sides = (
        (
            "ungraded",
            "draws of the base have no verdict and count neither as right nor as wrong",
            counts.base_failed,
        ),
        (
            "ungraded",
            "draws of the tuned policy have no verdict and count neither as right nor as wrong",
            counts.tuned_failed,
        ),
        ("truncated", "completions of the base were cut at the length limit", counts.base_cut),
        ("truncated", "completions of the tuned policy were cut at the length limit", counts.tuned_cut),
    )
    for kind, what, column in sides:
        if column is None or not np.isfinite(column).any():
            continue
        share = float(np.nanmean(column))
        if share >= WORTH_SAYING:
            yield Caution(kind=kind, text=f"{number(share)} of the {what}")


def _format(counts: PairedCounts) -> Iterator[Caution]:
    sides = (
        ("base", counts.base, counts.base_lenient),
        ("tuned policy", counts.tuned, counts.tuned_lenient),
    )
    for name, draws, column in sides:
        if column is None or not np.isfinite(column).any():
            continue
        strict, lenient = float(np.mean(draws.rate)), float(np.nanmean(column))
        if lenient - strict >= WORTH_SAYING:
            yield Caution(
                kind="format",
                text=f"the {name} is right in {number(strict)} of its draws as graded and in {number(lenient)} "
                "under lenient extraction: it does not write answers in the form that the grader reads",
            )


def _edges(estimates: VerdictEstimates) -> Iterator[Caution]:
    base, tuned = estimates.masses["base"].value, estimates.masses["tuned"].value
    if base <= EDGE < tuned:
        rate = number(base, small=True)
        text = f"the base hardly ever succeeds ({rate}): check that it is prompted and graded as it answers"
        yield Caution(kind="floor", text=text)
    if base >= 1 - EDGE:
        rate = number(1 - base, small=True)
        text = f"the base fails in only {rate} of its draws: there is no room for a gain"
        yield Caution(kind="ceiling", text=text)


def needed_of(
    counts: PairedCounts, estimates: VerdictEstimates, budget: Budget, classes: NDArray[np.int8]
) -> str:
    """How many more draws or problems would decide what is undecided; empty where nothing is."""
    problems, gain = counts.units, estimates.masses["gain"]
    if estimates.label != "undecided" or not len(classes):
        return ""
    if not budget.decidable:
        wanted = DRAWS_PER_K * budget.asked
        return f"K = {budget.asked} needs {wanted} base draws per problem; there are {budget.draws}"
    if problems < LEAST_PROBLEMS:
        return f"a label needs at least {LEAST_PROBLEMS} problems; there are {problems}"
    if not lies_above_zero(gain):
        return _problems_for_the_gain(problems, estimates)
    open_share = estimates.shares["undecided"].value
    best = max((estimates.shares["deployed"], estimates.beyond), key=lambda share: share.value)
    if best.value < OWN_SHARE <= best.value + open_share:
        return _draws_needed(counts, budget.k, classes)
    if best.value > OWN_SHARE and math.isfinite(best.low):
        more = math.ceil(problems * ((best.value - best.low) / (best.value - OWN_SHARE)) ** 2)
        return f"about {more} such problems would let one share's interval lie above {OWN_SHARE}"
    return "the gain is spread over the classes: more draws or problems need not give one of them half"


def _problems_for_the_gain(problems: int, estimates: VerdictEstimates) -> str:
    """How many problems would tell the gain from 0, or show that there is none."""
    gain = estimates.masses["gain"]
    half, target = (gain.high - gain.low) / 2, max(abs(gain.value), NO_CHANGE)
    more = math.ceil(problems * (half / target) ** 2)
    if more <= problems:
        return "the gain is settled; more draws of both policies would settle pass@k at large k"
    wanted = "exclude 0" if target > NO_CHANGE else f"lie within ±{NO_CHANGE}"
    return f"about {more} such problems would let the gain's interval {wanted}"


def _draws_needed(counts: PairedCounts, k: int, classes: NDArray[np.int8]) -> str:
    """How many times the base's draws would decide half of the undecided problems, at the rates seen."""
    here = classes == UNDECIDED
    n, c = counts.base.n[here], counts.base.c[here]
    if not len(n):
        return "more base draws"
    luck = None if counts.chance is None else counts.chance[here]
    open_ones = counted(len(n), "undecided problem")
    for times in TIMES:
        decided = classify(c * times, n * times, (k,), chance=luck)[:, 0] != UNDECIDED
        if decided.mean() >= OWN_SHARE:
            return f"about {times} times the base draws ({times * int(n.max())} per problem) on {open_ones}"
    return f"{open_ones} lie too near 1/K = 1/{k} for draws to decide them; another K would"
