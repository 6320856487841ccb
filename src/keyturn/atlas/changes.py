"""What moved between two states of the atlas: updates, by records, apart from amendments, by the collection.

A living review keeps the two apart: an *update* is new evidence under the same protocol, bounds and facts; an
*amendment* is a change of what is asked (a fact, a reading, its bound or gates, a claim's protocol).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.known import Known
from keyturn.atlas.states import States, all_states
from keyturn.core.errors import InputError
from keyturn.core.measurement import Json
from keyturn.core.rundir import SCHEMA, read_json

ABSENT = "absent"
"""State of a fact that one of the two does not have."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The states of an atlas at one time, as plain data.

    Args:
        facts: id -> ``{state, says, readings}``.
        readings: id -> ``{asks, outcome, records}``; ``asks`` is everything that is fixed before a run.
    """

    facts: Mapping[str, Mapping[str, Any]]
    readings: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Json]:
        """For a file."""
        return {"schema": SCHEMA, "facts": dict(self.facts), "readings": dict(self.readings)}  # type: ignore[dict-item]


@dataclass(frozen=True, kw_only=True)
class Change:
    """A fact whose state moved.

    Args:
        fact, says: its id and its assertion.
        before, after: states; ``absent`` where there was none.
        kind: ``update`` (records) or ``amendment`` (what is asked).
        records: records that came or went behind its readings; those that went with a minus sign before.
        amended: ids of readings whose asking changed, that came or that went.
    """

    fact: str
    says: str
    before: str
    after: str
    kind: Literal["update", "amendment"]
    records: tuple[str, ...]
    amended: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Flat."""
        return {
            "fact": self.fact,
            "says": self.says,
            "before": self.before,
            "after": self.after,
            "kind": self.kind,
            "records": list(self.records),
            "amended": list(self.amended),
        }


def snapshot(atlas: Atlas, known: Known, states: States | None = None) -> Snapshot:
    """The states of now."""
    states = states or all_states(atlas, known)
    hashes = {name: claim.hash for name, claim in CLAIMS.items()}
    readings = {
        name: {
            "asks": [
                hashes.get(one.reading.claim, ""),
                one.reading.number,
                one.reading.counts,
                one.reading.bound,
                one.reading.how,
                sorted(one.reading.gates) if one.reading.gates is not None else "all gates",
            ],
            "outcome": one.outcome,
            "records": sorted(one.records),
        }
        for name, one in states.readings.items()
    }
    facts = {
        name: {"state": one.state, "says": one.fact.says, "readings": [x.reading.id for x in one.readings]}
        for name, one in states.facts.items()
    }
    return Snapshot(facts=facts, readings=readings)


def read_snapshot(path: Path) -> Snapshot:
    """A snapshot from its file.

    Raises:
        InputError: the file holds none.
    """
    row = read_json(path)
    if not isinstance(row.get("facts"), dict) or not isinstance(row.get("readings"), dict):
        raise InputError(f"{path} holds no states of an atlas", fix="one that keyturn atlas diff --save wrote")
    return Snapshot(facts=row["facts"], readings=row["readings"])  # type: ignore[arg-type]


def changes(old: Snapshot, new: Snapshot) -> tuple[Change, ...]:
    """Facts whose state moved, in the order of the new atlas, those that went last."""
    found = []
    for fact in (*new.facts, *(one for one in old.facts if one not in new.facts)):
        before, after = old.facts.get(fact, {}), new.facts.get(fact, {})
        if before.get("state", ABSENT) == after.get("state", ABSENT):
            continue
        names = dict.fromkeys((*before.get("readings", ()), *after.get("readings", ())))
        amended = tuple(one for one in names if _asks(old, one, before) != _asks(new, one, after))
        kind = "amendment" if amended or not before or not after else "update"
        found.append(
            Change(
                fact=fact,
                says=(after or before).get("says", ""),
                before=before.get("state", ABSENT),
                after=after.get("state", ABSENT),
                kind=kind,
                records=_moved(old, new, tuple(names)),
                amended=amended,
            )
        )
    return tuple(found)


def _asks(side: Snapshot, reading: str, fact: Mapping[str, Any]) -> Any:
    return side.readings.get(reading, {}).get("asks") if reading in fact.get("readings", ()) else None


def _moved(old: Snapshot, new: Snapshot, readings: tuple[str, ...]) -> tuple[str, ...]:
    before = {x for one in readings for x in old.readings.get(one, {}).get("records", ())}
    after = {x for one in readings for x in new.readings.get(one, {}).get("records", ())}
    return (*sorted(after - before), *(f"-{one}" for one in sorted(before - after)))
