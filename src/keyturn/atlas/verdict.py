"""The verdict: a pure function of a claim's protocol and its evidence.

A run that was repeated counts once, whatever its numbers (:func:`keyturn.atlas.evidence.merged`). A number
without a spread decides nothing (:meth:`keyturn.atlas.evidence.Evidence.deciding`).

Rule: the claim is supported if the whole interval of the combined effect lies beyond the smallest effect of
interest, and contradicted if the whole interval falls short of it; otherwise it is undecided. If a gate is not
met, the record is not applicable. With fewer than three records or only one base, the verdict is preliminary.
Where the controls failed in most runs, the verdict is invalid: a study that cannot hold its controls is not
mended by the few runs in which it happened to.

Records of one base are averaged first (seeds of one base are not independent bases), then bases:
``effect = mean_b mean_(r in b) x_r``. Its variance is the larger of the one from the records' own intervals and
the one from the spread between bases, so that neither few bases nor noisy runs look certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from keyturn.atlas.contract import Claim, Gate
from keyturn.atlas.evidence import UNDEFINED, Evidence, merged
from keyturn.core.collector import no_collector
from keyturn.core.measurement import Estimate, Json

State: TypeAlias = Literal["untested", "not applicable", "invalid", "supported", "contradicted", "undecided"]

ENOUGH_RECORDS = 3
"""Minimum number of records for a verdict that is not preliminary."""
ENOUGH_BASES = 2
"""Minimum number of bases; with one base the effect may be peculiar to it."""
_Z = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """The verdict of the evidence on a claim.

    Args:
        state: the verdict.
        preliminary: whether there are too few records or bases to call it a finding.
        effect: combined estimand with its 95 % interval.
        records: number of valid and applicable records, which decide.
        bases: number of distinct bases among them.
        left_out: number of records that do not count, by reason.
        why: the reason in one sentence.
        other_code: number of records among those that count whose study ran on other code than today's.
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
        """The verdict as a flat JSON object."""
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
    """Judge a claim by its records, in any order."""
    with no_collector():
        return _verdict(claim, evidence)


def _verdict(claim: Claim, evidence: Sequence[Evidence]) -> ClaimVerdict:
    protocol, estimand = claim.hash, claim.threshold.estimand
    mine = [e for e in evidence if e.claim == claim.id and e.origin.kind != "reported"]
    of_protocol = [e for e in mine if e.claim_hash == protocol]
    current = merged(of_protocol)
    held = [e for e in current if _all_hold(claim.controls, e)]
    sound = held if mostly(len(held), len(current)) else []
    running = [e for e in sound if _all_hold(claim.gates, e)]
    effects = [(e, e.deciding(estimand)) for e in running]
    usable = [(e, effect) for e, effect in effects if not math.isnan(effect.value)]
    left_out = tuple(
        (reason, count)
        for reason, count in (
            ("another protocol of the claim", len(mine) - len(of_protocol)),
            ("a run repeated", len(of_protocol) - len(current)),
            ("a control did not hold", len(current) - len(held)),
            ("the controls held, as they did in less than half of the runs", len(held) - len(sound)),
            ("a gate was not met", len(sound) - len(running)),
            ("the estimand is undefined", len(running) - len(usable)),
        )
        if count
    )
    bases = len({e.base for e, _ in usable})
    preliminary = len(usable) < ENOUGH_RECORDS or bases < ENOUGH_BASES
    if not usable:
        state: State = "untested" if not current else "not applicable" if sound else "invalid"
        return ClaimVerdict(
            state=state,
            preliminary=True,
            effect=UNDEFINED,
            records=0,
            bases=0,
            left_out=left_out,
            why=_unmet(claim, _example(claim, current)) if current else "no record of this version yet",
        )
    effect = combine([(e.base, number) for e, number in usable])
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
            f"{len(usable)} record(s) of {bases} base(s); needed: {sign} {claim.threshold.smallest:g}"
        ),
        other_code=other_code(claim, [e for e, _ in usable]),
    )


def mostly(sound: int, records: int) -> bool:
    """Whether the controls held in at least half of the records, and in one at all."""
    return sound > 0 and 2 * sound >= records


def _example(claim: Claim, current: Sequence[Evidence]) -> Evidence:
    """The last record that does not hold its controls, else the last one."""
    failed = [e for e in current if not _all_hold(claim.controls, e)]
    return failed[-1] if failed else current[-1]


def _all_hold(gates: Sequence[Gate], one: Evidence) -> bool:
    return all(gate.holds(one.deciding(gate.name)) for gate in gates)


def other_code(claim: Claim, evidence: Sequence[Evidence]) -> int:
    """Number of records that were made by other code than the study's present code."""
    noted = [e.code for e in evidence if e.code]
    now = claim.code.hash if noted else ""
    return sum(code != now for code in noted)


def _unmet(claim: Claim, record: Evidence) -> str:
    """The controls and gates that the record did not meet, as text."""
    kinds = (("control did not hold", claim.controls), ("gate not met", claim.gates))
    missed = [
        f"{kind}: {gate.says} ({_shown(number)}, must be {gate.bounds})"
        for kind, gates in kinds
        for gate in gates
        if not gate.holds(number := record.deciding(gate.name))
    ]
    return "; ".join(missed) or "the estimand is undefined"


def _shown(number: Estimate) -> str:
    if math.isnan(number.value):
        return "undefined"
    if not number.high - number.low < math.inf:
        return f"{number.value:.3f}, without an interval"
    return f"{number.value:.3f} [{number.low:.3f}, {number.high:.3f}]"


def combine(numbers: Sequence[tuple[str, Estimate]]) -> Estimate:
    """Average records within a base, then bases; a 95 % interval that clusters on the base.

    Args:
        numbers: (base, effect with its 95 % interval) per record.
    """
    groups: dict[str, list[Estimate]] = {}
    for base, number in numbers:
        groups.setdefault(base, []).append(number)
    # In one order and summed exactly, so that the order of the records does not even change the last digit.
    ordered = [group for _, group in sorted(groups.items())]
    means = np.array([_mean([x.value for x in group]) for group in ordered])
    # Records of one base share problems, so averaging does not reduce their errors.
    own = np.array([_mean([_variance(x) for x in group]) for group in ordered])
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


def _mean(found: Sequence[float]) -> float:
    return math.fsum(found) / len(found)


def _variance(x: Estimate) -> float:
    if math.isnan(x.low) or math.isnan(x.high):
        return math.inf
    return ((x.high - x.low) / (2 * _Z)) ** 2


def _decide(effect: Estimate, direction: int, smallest: float) -> State:
    low, high = (effect.low, effect.high) if direction > 0 else (-effect.high, -effect.low)
    bar = smallest * direction
    return "supported" if low >= bar else "contradicted" if high < bar else "undecided"
