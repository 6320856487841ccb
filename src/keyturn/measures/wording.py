"""The verdict in words: one sentence with the deciding numbers, and the notes that belong to it.

Ours.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Estimate
from keyturn.measures.classes import class_agreement, reach_thresholds
from keyturn.measures.estimates import CLASSES, DRAWS_PER_K, SMALLEST_K, Budget, Judged
from keyturn.measures.evidence import Evidence
from keyturn.measures.labels import NO_CHANGE
from keyturn.measures.verdict import REACHABLE, UNDECIDED


def signed(estimate: Estimate) -> str:
    """``+0.31 [+0.24, +0.38]``."""
    if math.isnan(estimate.low):
        return f"{estimate.value:+.3f} (no interval)"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def plain(estimate: Estimate) -> str:
    """``0.92 [0.81, 1.00]``."""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def why_of(judged: Judged, budget: Budget, problems: int) -> str:
    """One sentence that says which numbers decided the label."""
    if problems == 0:
        return "no problem has a graded draw of both policies"
    gain = judged.masses["gain"]
    if not budget.decidable:
        draws = "one base draw" if budget.draws == 1 else f"{budget.draws} base draws"
        return (
            f"{draws} a problem cannot say what the base could already do (K = {budget.asked} takes "
            f"{DRAWS_PER_K * budget.asked} base draws a problem, the smallest K takes "
            f"{DRAWS_PER_K * SMALLEST_K}); the gain is {signed(gain)}"
        )
    if math.isnan(gain.low):
        return f"one problem (or one cluster) has no interval; the gain is {signed(gain)}"
    within = f"within {budget.k} draws"
    return _undecided(judged, gain, within) if judged.label == "undecided" else _decided(judged, gain, within)


def _decided(judged: Judged, gain: Estimate, within: str) -> str:
    deployed, created = plain(judged.shares["deployed"]), plain(judged.shares["created"])
    of_the_gain = f"of the gain of {signed(gain)} is on problems that the base"
    if judged.label == "no change":
        return f"the gain of {signed(gain)} lies within ±{NO_CHANGE} and coverage {within} is kept"
    if judged.label == "narrowed":
        lost = f"{signed(judged.lost)} of them {within}"
        return f"no gain ({signed(gain)}), and problems are lost beyond the replicate null: {lost}"
    if judged.label == "mixed":
        return f"{deployed} {of_the_gain} solves {within}, and {created} on problems that it does not solve"
    if judged.label == "created":
        return f"{created} {of_the_gain} does not solve {within}"
    if judged.label == "deployed":
        return f"{deployed} {of_the_gain} solves {within}"
    before = plain(judged.shares["created_before_elicitation"])
    return (
        f"{deployed} {of_the_gain} solves {within} or under elicitation; created share {before} before "
        f"elicitation, {created} after"
    )


def _undecided(judged: Judged, gain: Estimate, within: str) -> str:
    if gain.high < 0:
        return f"success fell ({signed(gain)}) and no loss of problems {within} is sure: no gain to divide"
    if gain.low >= -NO_CHANGE and gain.high <= NO_CHANGE:
        return (
            f"the gain of {signed(gain)} lies within ±{NO_CHANGE}, but coverage {within} is {judged.coverage}"
        )
    if gain.low <= 0:
        return (
            f"the gain's interval contains 0 and is wider than ±{NO_CHANGE}: {signed(gain)}; "
            f"coverage {within}: {judged.coverage}"
        )
    parts = ", ".join(f"{name} {plain(judged.shares[name])}" for name in CLASSES)
    return f"no class holds half of the gain of {signed(gain)} for sure: {parts}"


def notes_of(
    evidence: Evidence, judged: Judged, classes: NDArray[np.int8], budget: Budget, *, left_out: int
) -> tuple[str, ...]:
    """What a reader must know beside the label, one sentence each."""
    notes = []
    base = evidence.base
    if left_out:
        notes.append(f"{left_out} problems without a graded draw of both policies are left out")
    if len(classes) and base.staged:
        early = int((~base.went_on).sum())
        notes.append(
            f"base drawn in two stages: {early} of {len(classes)} problems stopped after {base.first_n.max()} "
            f"draws with {base.enough} or more successes; rates are corrected for it"
        )
    if evidence.unit == "answer":
        notes.append("success is the answer alone, not a read trace; answers can be guessed")
    if not budget.decidable:
        return tuple(notes)
    if budget.k < budget.asked:
        notes.append(f"K lowered from {budget.asked} to {budget.k}, a third of {budget.draws} base draws")
    thin = 0 if base.staged else int((base.n < budget.draws).sum())
    if thin:
        notes.append(f"{thin} problems have fewer than {budget.draws} base draws and may stay undecided")
    if judged.coverage_k < budget.k:
        notes.append(f"coverage is compared within {judged.coverage_k} draws, the tuned policy's number")
    notes += [
        *_guess_notes(evidence, budget.k),
        *_elicited_notes(evidence, judged, classes),
        *_exact_notes(evidence, classes, budget.k),
    ]
    if judged.flips_to is not None:
        first, last = judged.holds
        notes.append(
            f"the label holds for K from {first} to {last}; at K = {judged.flips_at:.0f} it would be "
            f"{judged.flips_to}"
        )
    gain = judged.masses["gain"]
    if judged.label == "undecided" and gain.low <= 0 <= gain.high:
        half = (gain.high - gain.low) / 2
        if half > NO_CHANGE:
            needed = math.ceil(len(classes) * (half / NO_CHANGE) ** 2)
            notes.append(f"about {needed} such problems would narrow the gain's interval to ±{NO_CHANGE}")
    return tuple(notes)


def _guess_notes(evidence: Evidence, k: int) -> list[str]:
    notes = []
    reach = reach_thresholds(k, evidence.guess)
    if evidence.guess is not None and np.isfinite(evidence.guess).any():
        notes.append(
            f"answers are guessed at a rate of {np.nanmean(evidence.guess):.3f}; {np.sum(reach > 1 / k)} "
            "problems count as reached only above twice their rate"
        )
    if evidence.floor is not None and np.isfinite(evidence.floor).any():
        known = np.isfinite(evidence.floor) & (evidence.base.n > 0)
        notes.append(
            f"a valid trace is hit by chance at a rate of at most {np.mean(evidence.floor[known]):.2g} (mean); "
            f"the base's success is {np.mean(evidence.base.rate[known]):.2g}"
        )
    if evidence.bound is not None:
        certified = int((np.nan_to_num(evidence.bound) > reach).sum())
        notes.append(f"{certified} problems are reachable by the certified lower bound")
    return notes


def _elicited_notes(evidence: Evidence, judged: Judged, classes: NDArray[np.int8]) -> list[str]:
    if evidence.elicited is None:
        return []
    count = int((evidence.elicited & (classes != REACHABLE)).sum())
    before, after = judged.shares["created_before_elicitation"], judged.shares["created"]
    shares = (
        "" if math.isnan(after.value) else f"; created share {before.value:.2f} before, {after.value:.2f} after"
    )
    return [f"{count} problems that sampling does not reach are solved under elicitation{shares}"]


def _exact_notes(evidence: Evidence, classes: NDArray[np.int8], k: int) -> list[str]:
    if evidence.exact is None or not np.isfinite(evidence.exact).any():
        return []
    known = np.isfinite(evidence.exact)
    agree, decided = class_agreement(classes[known], evidence.exact[known], k)
    notes = [
        f"exact base success is known for {int(known.sum())} problems: sampling decides {decided} of them, "
        f"{agree} as the exact value does"
    ]
    open_ones = known & (classes == UNDECIDED)
    if open_ones.any():
        below = int((evidence.exact[open_ones] < 1 / k).sum())
        notes.append(
            f"of the {int(open_ones.sum())} that the draws leave undecided, {below} are unreachable and "
            f"{int(open_ones.sum()) - below} reachable by the exact value"
        )
    return notes
