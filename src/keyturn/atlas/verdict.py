"""The verdict: a pure function of a claim's version and its evidence.

A run that was repeated with the same numbers counts once.

Rule: the interval of the combined effect beyond the smallest effect of interest supports the claim, one
that does not reach it contradicts the claim, else it is undecided. Unmet gates: not applicable. Fewer
than three records, or one base only: the verdict is preliminary.

Records of one base are averaged first (seeds of one base are not independent bases), then bases:
``effect = mean_b mean_(r in b) x_r``; its variance is the larger of what the records' own intervals say
and what the spread between bases says, so that neither few bases nor noisy runs look sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from keyturn.atlas.contract import Claim
from keyturn.atlas.evidence import Evidence
from keyturn.core.measurement import Estimate, Json

State: TypeAlias = Literal["untested", "not applicable", "invalid", "supported", "contradicted", "undecided"]

ENOUGH_RECORDS = 3
"""Fewer are a lead, not a finding."""
ENOUGH_BASES = 2
"""With one base nothing says that the effect is not that base's own."""
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """What the evidence says of a claim.

    Args:
        state: the verdict.
        preliminary: too few records or bases to call it a finding.
        effect: combined estimand with its 95 % interval.
        records: valid and applicable records that decide.
        bases: distinct bases among them.
        left_out: records not counted, by reason.
        why: one sentence.
        other_code: records among those that count whose study ran on other code than it would today.
    """

    state: State
    preliminary: bool
    effect: Estimate
    records: int
    bases: int
    left_out: tuple[tuple[str, int], ...]
    why: str
    other_code: int = 0

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "state": self.state,
            "preliminary": self.preliminary,
            "effect": self.effect.to_json(),
            "records": self.records,
            "bases": self.bases,
            "left_out": dict(self.left_out),
            "why": self.why,
            "other_code": self.other_code,
        }


def verdict(claim: Claim, evidence: Sequence[Evidence]) -> ClaimVerdict:
    """The verdict of a claim on records, in any order."""
    mine = [e for e in evidence if e.claim == claim.id]
    of_protocol = [e for e in mine if e.claim_hash == claim.hash]
    current = list({_run(e): e for e in of_protocol}.values())
    invalid = [e for e in current if any(not g.holds(_number(e, g.name)) for g in claim.controls)]
    sound = [e for e in current if e not in invalid]
    idle = [e for e in sound if any(not g.holds(_number(e, g.name)) for g in claim.gates)]
    usable = [e for e in sound if e not in idle and not math.isnan(_number(e, claim.threshold.estimand).value)]
    left_out = tuple(
        (reason, count)
        for reason, count in (
            ("another protocol of the claim", len(mine) - len(of_protocol)),
            ("a run repeated, with the same numbers", len(of_protocol) - len(current)),
            ("a control failed", len(invalid)),
            ("a gate was not met", len(idle)),
            ("the estimand is undefined", len(sound) - len(idle) - len(usable)),
        )
        if count
    )
    bases = len({e.base for e in usable})
    preliminary = len(usable) < ENOUGH_RECORDS or bases < ENOUGH_BASES
    if not usable:
        state: State = "untested" if not current else "not applicable" if sound else "invalid"
        return ClaimVerdict(
            state=state,
            preliminary=True,
            effect=Estimate(math.nan),
            records=0,
            bases=0,
            left_out=left_out,
            why=_unmet(claim, current[-1]) if current else "no record of this version yet",
        )
    effect = combine([(e.base, _number(e, claim.threshold.estimand)) for e in usable])
    state = _decide(effect, claim.threshold.direction, claim.threshold.smallest)
    sign = ">=" if claim.threshold.direction > 0 else "<="
    return ClaimVerdict(
        state=state,
        preliminary=preliminary,
        effect=effect,
        records=len(usable),
        bases=bases,
        left_out=left_out,
        why=(
            f"{claim.threshold.says}: {_shown(effect)} over "
            f"{len(usable)} record(s) of {bases} base(s), needed {sign} {claim.threshold.smallest:g}"
        ),
        other_code=other_code(claim, usable),
    )


def _run(one: Evidence) -> tuple[object, ...]:
    """What tells a run from a repetition of it: a run that was only read again knows nothing new."""
    numbers = sorted((name, x.value, x.low, x.high) for name, x in one.numbers.items())
    return one.base, one.seed, one.n, repr(numbers)


def other_code(claim: Claim, evidence: Sequence[Evidence]) -> int:
    """How many records say that other code made them than the study would run on now."""
    noted = [e.code for e in evidence if e.code]
    return sum(code != claim.code.hash for code in noted) if noted else 0


def _unmet(claim: Claim, record: Evidence) -> str:
    """Which controls and gates the record did not meet, in words."""
    kinds = (("control failed", claim.controls), ("gate not met", claim.gates))
    missed = [
        f"{kind}: {gate.says} ({_shown(_number(record, gate.name))}, must be {gate.bounds})"
        for kind, gates in kinds
        for gate in gates
        if not gate.holds(_number(record, gate.name))
    ]
    return "; ".join(missed) or "the estimand is undefined"


def _shown(number: Estimate) -> str:
    interval = "" if math.isnan(number.low) else f" [{number.low:.3f}, {number.high:.3f}]"
    return f"{number.value:.3f}{interval}"


def combine(numbers: Sequence[tuple[str, Estimate]]) -> Estimate:
    """Average records within a base, then bases; a 95 % interval that clusters on the base.

    Args:
        numbers: (base, effect with its 95 % interval) per record.
    """
    groups: dict[str, list[Estimate]] = {}
    for base, number in numbers:
        groups.setdefault(base, []).append(number)
    means = np.array([np.mean([x.value for x in group]) for group in groups.values()])
    # Problems are shared by the records of one base, so their errors are not averaged away.
    own = np.array([np.mean([_variance(x) for x in group]) for group in groups.values()])
    count = len(means)
    own_variance = float(own.sum()) / count**2
    value = float(means.mean())
    half = _Z * math.sqrt(own_variance)
    if count > 1:
        spread = math.sqrt(float(means.var(ddof=1)) / count)
        half = max(half, float(stats.t.ppf(0.975, count - 1)) * spread)
    if count == 1 and len(numbers) == 1:
        only = numbers[0][1]
        return only if not math.isnan(only.low) else Estimate(value, -math.inf, math.inf)
    return Estimate(value, value - half, value + half)


def _variance(x: Estimate) -> float:
    if math.isnan(x.low) or math.isnan(x.high):
        return math.inf
    return ((x.high - x.low) / (2 * _Z)) ** 2


def _decide(effect: Estimate, direction: int, smallest: float) -> State:
    low, high = (effect.low, effect.high) if direction > 0 else (-effect.high, -effect.low)
    bar = smallest * direction
    return "supported" if low >= bar else "contradicted" if high < bar else "undecided"


def _number(evidence: Evidence, name: str) -> Estimate:
    return evidence.numbers.get(name, Estimate(math.nan))
