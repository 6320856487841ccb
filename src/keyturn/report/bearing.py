"""The claims of the literature that an audit bears on, and what it says to each: one audit is one record.

The atlas collects such records; a report only points there. The claims' words stand here once more, so that a
report of sample files does not load every study; a test holds them equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from keyturn.core.numbers import counted, estimate
from keyturn.measures.verdict import Verdict

DEPLOYS = "Most of the gain of RL lies on problems that the base solves by itself within 64 draws."
NARROWS = (
    "RL raises success at one draw and lowers it at many: within K = 64 draws the base solves at least as many "
    "problems as the model that RL made of it."
)
MOST = 0.5
"""The share of the gain that the first claim needs."""
BUDGET = 64
"""The K of both claims; an audit at another one speaks of it in passing and is no record."""


@dataclass(frozen=True, kw_only=True)
class Bearing:
    """One claim, and what this audit says to it.

    Args:
        claim: its id in the atlas.
        statement: the claim.
        here: for it, against it, or that nothing is decided, with the number.
    """

    claim: str
    statement: str
    here: str


def how_to_count(verdict: Verdict, run: str) -> tuple[str, str]:
    """How an audit becomes a record: what stands before the command, and the command."""
    if verdict.k == BUDGET:
        return "This one is added by", f'keyturn evidence from-audit {run} --trained-by "GRPO, in your words"'
    asks = f"The claims are about K = {BUDGET} and this audit is about K = {verdict.k}, so that it is no record"
    return f"{asks}. One that is takes", f"keyturn audit ... --k {BUDGET}"


def bearings(verdict: Verdict) -> tuple[Bearing, ...]:
    """What a verdict says to each claim."""
    return (
        Bearing(claim="rl-deploys", statement=DEPLOYS, here=_deployed(verdict)),
        Bearing(claim="rl-narrows", statement=NARROWS, here=_narrowed(verdict)),
    )


def _deployed(verdict: Verdict) -> str:
    share = verdict.shares.get("deployed")
    if share is None or math.isnan(share.value):
        return "Says nothing to it: no gain is sure."
    said = (
        f"{estimate(share)} of the gain is deployed at K = {verdict.k}, and the claim needs {MOST:g} or more."
    )
    if share.low >= MOST:
        return f"Speaks for it: {said}"
    return f"Speaks against it: {said}" if share.high < MOST else f"Leaves it open: {said}"


def _narrowed(verdict: Verdict) -> str:
    label, most = verdict.coverage.label, verdict.coverage.k_max
    if not most:
        return "Says nothing to it: coverage was compared at no number of draws."
    said = f"coverage is {label} up to {counted(most, 'draw')}."
    if label == "narrowed":
        return f"Speaks for it: {said}"
    if label == "expanded":
        return f"Speaks against it: {said}"
    return f"Leaves it open: {said}"
