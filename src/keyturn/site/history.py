"""What moved: the records in the order of their time, and the facts whose state each of them changed.

Nothing is stored for it: the states after each record follow from the records that there were. So the list is
the same on every machine that has the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keyturn.atlas.evidence import Evidence, merged
from keyturn.atlas.known import Known
from keyturn.atlas.readings import ReadingState, reading_state
from keyturn.atlas.states import fact_state
from keyturn.site.source import Source

MOST = 200
"""The latest records that are looked at one by one; older ones are taken together."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """A fact whose state a record changed.

    Args:
        fact: its id.
        before, after: its state without and with the record.
    """

    fact: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A record, and what it changed.

    Args:
        record: the record.
        moves: facts whose state changed; a record may change none.
    """

    record: Evidence
    moves: tuple[Move, ...]


def steps(source: Source) -> tuple[Step, ...]:
    """The latest records with what each changed, the newest first."""
    parts = [part for name in source.claims for one in source.known.of(name) for part in one.parts or (one,)]
    ordered = sorted(parts, key=lambda one: (one.made, one.claim, one.digest))
    early, late = ordered[:-MOST] if len(ordered) > MOST else [], ordered[-MOST:]
    found = list(_walk(source, early, late))
    return tuple(reversed(found))


def _walk(source: Source, early: Sequence[Evidence], late: Sequence[Evidence]) -> Iterator[Step]:
    records: dict[str, list[Evidence]] = {}
    for one in early:
        records.setdefault(one.claim, []).append(one)
    readings = {
        reading.id: _read(source, reading.claim, reading.id, records.get(reading.claim, ()))
        for reading in source.atlas.readings.values()
    }
    held = _holders(source)
    for one in late:
        records.setdefault(one.claim, []).append(one)
        touched: dict[str, None] = {}
        before: dict[str, str] = {}
        changed: dict[str, ReadingState] = {}
        for reading in source.atlas.readings_of.get(one.claim, ()):
            changed[reading.id] = _read(source, one.claim, reading.id, records[one.claim])
            touched |= dict.fromkeys(held.get(reading.id, ()))
        for fact in touched:
            before[fact] = _state(source, fact, readings)
        readings |= changed
        moves = [
            Move(fact=fact, before=before[fact], after=after)
            for fact in touched
            if (after := _state(source, fact, readings)) != before[fact]
        ]
        yield Step(record=one, moves=tuple(moves))


def _read(source: Source, claim: str, reading: str, records: Sequence[Evidence]) -> ReadingState:
    known = Known(records={claim: merged(records)}, seeds=source.known.seeds)
    return reading_state(source.atlas.readings[reading], source.claims.get(claim), known)


def _holders(source: Source) -> dict[str, list[str]]:
    """Reading -> the fact that holds it; a fact that is told elsewhere moves with that one and is not named."""
    found: dict[str, list[str]] = {}
    for fact in source.atlas.distinct_facts:
        for reading in fact.readings:
            found.setdefault(reading.id, []).append(fact.id)
    return found


def _state(source: Source, fact: str, readings: Mapping[str, ReadingState]) -> str:
    return fact_state([readings[one.id] for one in source.atlas.facts[fact].readings])
