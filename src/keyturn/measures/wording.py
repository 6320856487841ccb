"""The verdict as text: one sentence with the deciding numbers, and the notes that belong to it. Source:
ours."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate
from keyturn.core.numbers import estimate, number
from keyturn.measures.chance import reach_threshold
from keyturn.measures.classes import class_agreement
from keyturn.measures.draws import Draws
from keyturn.measures.estimates import CLASSES, DRAWS_PER_K, SMALLEST_K, Budget, VerdictEstimates
from keyturn.measures.labels import LEAST_PROBLEMS, NO_CHANGE
from keyturn.measures.paired import PairedCounts
from keyturn.measures.verdict import AT_CHANCE, REACHABLE, UNDECIDED

FEW_ON_A_SIDE = 3
"""Minimum number of problems on either side to report a pattern in the numbers of draws: three against three
are separated by chance one time in twenty.
"""


def counted(number: int, noun: str) -> str:
    """``1 problem``, ``3 problems``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def signed(found: Estimate) -> str:
    """``+0.31 [+0.24, +0.38]``, as every table prints it."""
    return estimate(found, signed=True) + (" (no interval)" if math.isnan(found.low) else "")


def why_of(estimates: VerdictEstimates, budget: Budget, problems: int) -> str:
    """One sentence with the numbers that decided the label."""
    if problems == 0:
        return "no problem has a graded draw of both policies"
    if estimates.nothing:
        return estimates.nothing
    gain = estimates.masses["gain"]
    if not budget.decidable:
        draws = "one base draw" if budget.draws == 1 else f"{budget.draws} base draws"
        return (
            f"{draws} per problem cannot say what the base could already do (K = {budget.asked} needs "
            f"{DRAWS_PER_K * budget.asked} base draws per problem, the smallest K needs "
            f"{DRAWS_PER_K * SMALLEST_K}); the gain is {signed(gain)}"
        )
    if problems < LEAST_PROBLEMS:
        few = counted(problems, "problem")
        return f"{few}: a label needs at least {LEAST_PROBLEMS}; the gain is {signed(gain)}"
    if math.isnan(gain.low):
        return f"one problem (or one cluster) has no interval; the gain is {signed(gain)}"
    within = f"within {budget.k} draws"
    return _undecided(estimates, gain) if estimates.label == "undecided" else _decided(estimates, gain, within)


def _decided(estimates: VerdictEstimates, gain: Estimate, within: str) -> str:
    coverage = estimates.coverage.sentence
    deployed, created = estimate(estimates.shares["deployed"]), estimate(estimates.beyond)
    of_the_gain = f"of the gain of {signed(gain)} is on problems that the base"
    out_of_reach = f"does not solve {within}"
    luck = estimates.shares.get("at_chance")
    if luck is not None and luck.value > 0 and estimates.beyond.value != estimates.shares["created"].value:
        out_of_reach += f" or solves no better than by chance ({estimate(luck)} of the gain)"
    if estimates.label == "no change":
        return f"the gain of {signed(gain)} lies within ±{NO_CHANGE}; {coverage}"
    if estimates.label == "narrowed":
        return f"there is no gain ({signed(gain)}), and {coverage}"
    if estimates.label == "worse":
        return f"success fell ({signed(gain)}); {coverage}"
    if estimates.label == "mixed":
        said = f"{deployed} {of_the_gain} solves {within}, and {created} on problems that it {out_of_reach}"
    elif estimates.label == "created":
        said = f"{created} {of_the_gain} {out_of_reach}"
    elif estimates.label == "deployed":
        said = f"{deployed} {of_the_gain} solves {within}"
    else:
        before = estimate(estimates.shares["created_before_elicitation"])
        said = (
            f"{deployed} {of_the_gain} solves {within} or under elicitation; created share {before} before "
            f"elicitation, {created} after"
        )
    return f"{said}; {coverage}" if estimates.coverage.below else said


def _undecided(estimates: VerdictEstimates, gain: Estimate) -> str:
    coverage = estimates.coverage.sentence
    if gain.low >= -NO_CHANGE and gain.high <= NO_CHANGE:
        return f"the gain of {signed(gain)} lies within ±{NO_CHANGE}, but the whole curve does not: {coverage}"
    if gain.low <= 0:
        return f"the gain's interval contains 0 and is wider than ±{NO_CHANGE}: {signed(gain)}; {coverage}"
    parts = ", ".join(
        f"{name.replace('_', ' ')} {estimate(estimates.shares[name])}"
        for name in CLASSES
        if name in estimates.shares
    )
    return f"no class holds half of the gain of {signed(gain)} for sure: {parts}"


def notes_of(
    counts: PairedCounts,
    estimates: VerdictEstimates,
    classes: NDArray[np.int8],
    budget: Budget,
    *,
    left_out: int,
) -> tuple[str, ...]:
    """What a reader must know besides the label, one sentence each."""
    notes = []
    base = counts.base
    if left_out:
        notes.append(f"{left_out} problems without a graded draw of both policies are left out")
    if len(classes) and base.staged:
        early = int((~base.went_on).sum())
        notes.append(
            f"the base was drawn in two stages: {early} of {len(classes)} problems stopped after "
            f"{base.first_n.max()} draws with {base.enough} or more successes; rates are corrected for this"
        )
    if looks_stopped(base):
        notes.append(
            f"every problem with {base.n.min()} base draws succeeds more often than every problem with more: "
            "if drawing stopped at successes, the rates of the base are too high, by up to 0.03"
        )
    if counts.kind == "answer":
        notes.append("success means a right answer, whatever its trace; answers can be guessed")
    if not budget.decidable:
        return tuple(notes)
    thin = 0 if base.staged else int((base.n < budget.draws).sum())
    if thin:
        notes.append(f"{thin} problems have fewer than {budget.draws} base draws and may stay undecided")
    if estimates.coverage.k_max < budget.k:
        notes.append(
            f"pass@k is compared up to k = {estimates.coverage.k_max}, the draws that both policies have"
        )
    notes += [
        *_luck_notes(counts, classes, budget.k),
        *_elicited_notes(counts, estimates, classes),
        *_exact_notes(counts, classes, budget.k),
    ]
    if estimates.flips_to is not None:
        first, last = estimates.holds
        notes.append(
            f"the label holds for K from {first} to {last}; at K = {estimates.flips_at:.0f} it would be "
            f"{estimates.flips_to}"
        )
    return tuple(notes)


def looks_stopped(base: Draws) -> bool:
    """Whether drawing seems to have stopped at successes, although no such rule is stated.

    True if the problems with the fewest draws all succeed more often than all others, and there are at least
    :data:`FEW_ON_A_SIDE` of both.
    """
    if base.staged or not len(base):
        return False
    fewest = base.n == base.n.min()
    if min(fewest.sum(), (~fewest).sum()) < FEW_ON_A_SIDE:
        return False
    return bool(base.rate[fewest].min() > base.rate[~fewest].max())


def _luck_notes(counts: PairedCounts, classes: NDArray[np.int8], k: int) -> list[str]:
    notes = []
    if counts.chance is not None and np.isfinite(counts.chance).any():
        known = np.isfinite(counts.chance)
        notes.append(
            f"luck alone succeeds at a rate of {np.mean(counts.chance[known]):.2g} (mean), the base at "
            f"{np.mean(counts.base.rate[known]):.2g}; {int((classes == AT_CHANCE).sum())} of {len(classes)} "
            "problems are at chance, and their gain never counts as deployed"
        )
    if counts.floor is not None and np.isfinite(counts.floor).any():
        known = np.isfinite(counts.floor)
        notes.append(
            f"a valid trace is hit by chance at a rate of at most {np.mean(counts.floor[known]):.2g} (mean); "
            f"the base's success is {np.mean(counts.base.rate[known]):.2g}"
        )
    if counts.bound is not None:
        luck = np.full(len(classes), np.nan) if counts.chance is None else counts.chance
        certified = int((np.nan_to_num(counts.bound) > reach_threshold(luck, k)).sum())
        notes.append(f"{certified} problems are reachable by the certified lower bound")
    return notes


def _elicited_notes(counts: PairedCounts, estimates: VerdictEstimates, classes: NDArray[np.int8]) -> list[str]:
    if counts.elicited is None:
        return []
    count = int((counts.elicited & (classes != REACHABLE)).sum())
    before, after = estimates.shares["created_before_elicitation"], estimates.shares["created"]
    shares = (
        ""
        if math.isnan(after.value)
        else f"; created share {number(before.value)} before, {number(after.value)} after"
    )
    return [f"{count} problems that sampling does not reach are solved under elicitation{shares}"]


def _exact_notes(counts: PairedCounts, classes: NDArray[np.int8], k: int) -> list[str]:
    if counts.exact is None or not np.isfinite(counts.exact).any():
        return []
    known = np.isfinite(counts.exact)
    agree, decided = class_agreement(classes[known], counts.exact[known], k)
    notes = [
        f"exact base success is known for {int(known.sum())} problems: sampling decides {decided} of them, "
        f"{agree} as the exact value does"
    ]
    open_ones = known & (classes == UNDECIDED)
    if open_ones.any():
        below = int((counts.exact[open_ones] < 1 / k).sum())
        notes.append(
            f"of the {int(open_ones.sum())} that the draws leave undecided, {below} are unreachable and "
            f"{int(open_ones.sum()) - below} reachable by the exact value"
        )
    return notes
