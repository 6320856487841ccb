"""The result of a reading: a pure function of the reading, its claim and the claim's records.

Records count as for a verdict: they have the claim's present protocol, each declared run counts once, controls
must hold, and so must the gates that the reading names (all gates where it names none). The number is combined
over records like an effect, bases last, and its whole interval is compared with the bound. A number without
spread (a width of 0 that is not declared exact) decides nothing. Where two origins give intervals that do not
overlap, the reading is *split*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from keyturn.atlas.collection.objects import Reading
from keyturn.atlas.contract import Claim, Gate
from keyturn.atlas.evidence import UNDEFINED, Evidence, merged
from keyturn.atlas.known import Known
from keyturn.atlas.verdict import combine, mostly
from keyturn.core.measurement import Estimate, Json, json_number

Outcome: TypeAlias = Literal["holds", "fails", "open", "split", "invalid", "not applicable", "no record"]
SOUND: frozenset[Outcome] = frozenset(("holds", "fails", "open", "split"))
"""Outcomes that rest on a record whose controls held."""


@dataclass(frozen=True, kw_only=True)
class ReadingState:
    """The result of one reading.

    Args:
        reading: the reading.
        outcome: ``holds``, ``fails``, ``open`` (the interval straddles the bound, or there is none), ``split``
            (origins contradict one another), ``invalid`` (a control failed), ``not applicable`` (a gate was not
            met, or the number is undefined), ``no record``.
        number: the combined number; undefined where no record is sound.
        records: ids of the records that decide; where none is sound, of those that do not.
        bases: names of the bases behind them, each once.
        seeds: seeds of training behind the number, over all records.
        seen: how many of the records were known when the bound was set (all shipped ones, for an illustrative
            reading).
        spread: False where the number has no interval that could decide.
        why: what failed, in words, where no record is sound.
        origins: where the records come from.
    """

    reading: Reading
    outcome: Outcome
    number: Estimate
    records: tuple[str, ...]
    bases: tuple[str, ...]
    seeds: int
    seen: int
    spread: bool
    why: str = ""
    origins: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether a sound record is behind it."""
        return self.outcome in SOUND

    @property
    def illustrates(self) -> bool:
        """Whether it only illustrates: every record was known when the bound was set."""
        return bool(self.records) and self.seen == len(self.records)

    @property
    def says(self) -> str:
        """What the world shows, a clause without its scope: as the reading says it, or otherwise."""
        return self.reading.otherwise if self.outcome == "fails" else self.reading.says

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        one = self.reading
        return {
            "id": one.id,
            "fact": one.fact,
            "claim": one.claim,
            "number": one.number,
            "counts": one.counts,
            "bound": one.bound,
            "how": one.how,
            "where": one.where,
            "outcome": self.outcome,
            "value": json_number(self.number.value),
            "low": json_number(self.number.low),
            "high": json_number(self.number.high),
            "records": list(self.records),
            "bases": list(self.bases),
            "seeds": self.seeds,
            "illustrates": self.illustrates,
            "why": self.why,
        }


@dataclass(frozen=True)
class Memo:
    """What readings of the same records share.

    Args:
        found: (claim, base, gates, number) -> what the records say, whatever the bound.
        sifted: (claim, base) -> records of the claim's protocol, each run once, and those whose controls held.
    """

    found: dict[tuple[str, str, tuple[str, ...] | None, str], ReadingState] = field(default_factory=dict)
    sifted: dict[tuple[str, str], tuple[list[Evidence], list[Evidence]]] = field(default_factory=dict)


def reading_state(
    reading: Reading, claim: Claim | None, known: Known, memo: Memo | None = None
) -> ReadingState:
    """What the records say of a reading.

    Args:
        reading: number and bound.
        claim: the claim that it names; None where there is none of that name.
        known: every record.
        memo: what was found for other readings of the same records; it is added to.
    """
    if claim is None:
        return _unsound(reading, "no record", (), "there is no claim of that name")
    memo = memo or Memo()
    key = reading.claim, reading.base, reading.gates, reading.number
    if key not in memo.found:
        memo.found[key] = _read(reading, claim, known, memo)
    found = memo.found[key]
    decided = (
        found.outcome if found.outcome not in ("holds", "fails", "open") else decide(found.number, reading)
    )
    # How many records were known before depends on when the bound was set.
    seen = found.seen if reading.illustrative or not found.sound else 0
    return replace(found, reading=reading, outcome=decided, seen=seen)


def _sifted(reading: Reading, claim: Claim, known: Known) -> tuple[list[Evidence], list[Evidence]]:
    """Records of the claim's protocol, each run once, and those of them whose controls held."""
    records = [one for one in known.of(reading.claim) if one.origin.kind != "reported"]
    on_base = [one for one in records if not reading.base or one.is_of(reading.base)]
    protocol = claim.hash
    current = list(merged([one for one in on_base if one.claim_hash == protocol]))
    return current, [one for one in current if not _missed(claim.controls, one)]


def _read(reading: Reading, claim: Claim, known: Known, memo: Memo) -> ReadingState:
    """What the records say of a reading's number; its bound is read last, and may be another's."""
    key = reading.claim, reading.base
    if key not in memo.sifted:
        memo.sifted[key] = _sifted(reading, claim, known)
    current, valid = memo.sifted[key]
    if not current:
        of = f" on the base {reading.base}" if reading.base else ""
        return _unsound(reading, "no record", (), f"the study was never run{of}")
    if not mostly(len(valid), len(current)):
        sound = {one.id for one in valid}
        current = [one for one in current if one.id not in sound]
        why = "; ".join(_missed(claim.controls, current[-1]))
        return _unsound(reading, "invalid", current, f"a control failed: {why}")
    gates = [gate for gate in claim.gates if reading.gates is None or gate.name in reading.gates]
    met = [one for one in valid if not _missed(gates, one)]
    usable = [one for one in met if not math.isnan(one.deciding(reading.number).value)]
    if not usable:
        missed = "; ".join(_missed(gates, valid[-1]))
        why = f"a gate was not met: {missed}" if missed else f"no record has the number {reading.number!r}"
        return _unsound(reading, "not applicable", valid, why)
    number = _combined(usable, reading.number)
    apart = _apart(usable, reading.number)
    outcome: Outcome = "split" if apart else decide(number, reading)
    return ReadingState(
        reading=reading,
        outcome=outcome,
        number=number,
        records=tuple(one.id for one in usable),
        bases=tuple(dict.fromkeys(one.base_name or one.base for one in usable)),
        seeds=sum(known.seeds_behind(one.id, reading.number) for one in usable),
        seen=sum(one.origin.kind == "shipped" for one in usable),
        spread=math.isfinite(number.high - number.low),
        origins=tuple(dict.fromkeys(one.origin.kind for one in usable)),
    )


def decide(number: Estimate, reading: Reading) -> Literal["holds", "fails", "open"]:
    """The whole interval against the bound; an undefined end decides nothing."""
    if reading.counts == ">=":
        return "holds" if number.low >= reading.bound else "fails" if number.high < reading.bound else "open"
    return "holds" if number.high <= reading.bound else "fails" if number.low > reading.bound else "open"


def _combined(records: Sequence[Evidence], name: str) -> Estimate:
    return combine([(one.base, _with_spread(one, name)) for one in records])


def _with_spread(one: Evidence, name: str) -> Estimate:
    """A number of a record; an interval of width 0 that is not exact is none."""
    number = one.deciding(name)
    if number.low == number.high and one.basis.get(name) != "exact":
        return Estimate(number.value)
    return number


def _apart(records: Sequence[Evidence], name: str) -> bool:
    """Whether two origins give intervals for one number that do not overlap."""
    groups: dict[object, list[Evidence]] = {}
    for one in records:
        for part in one.parts or (one,):
            groups.setdefault(part.origin, []).append(part)
    if len(groups) < 2:
        return False
    found = [_combined(merged(group), name) for group in groups.values()]
    return any(a.high < b.low for a in found for b in found)


def _missed(gates: Sequence[Gate], one: Evidence) -> list[str]:
    return [gate.says for gate in gates if not gate.holds(one.deciding(gate.name))]


def _unsound(reading: Reading, outcome: Outcome, records: Sequence[Evidence], why: str) -> ReadingState:
    return ReadingState(
        reading=reading,
        outcome=outcome,
        number=UNDEFINED,
        records=tuple(one.id for one in records),
        bases=tuple(dict.fromkeys(one.base_name or one.base for one in records)),
        seeds=0,
        seen=0,
        spread=False,
        why=why,
        origins=tuple(dict.fromkeys(one.origin.kind for one in records)),
    )
