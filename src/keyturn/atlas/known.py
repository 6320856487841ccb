"""What is known: the records of every claim, read once, with the number of seeds behind their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyturn.atlas import CLAIMS
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.store import load, shipped, shipped_runs


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everything that states and answers are computed from, beside the atlas.

    Args:
        records: claim -> records that may count; each declared run once, none that papers only report. seeds:
        (id of a record, number) -> seeds of training behind the number; a pair that is not there has one.
    """

    records: Mapping[str, Sequence[Evidence]]
    seeds: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def of(self, claim: str) -> Sequence[Evidence]:
        """The records of a claim."""
        return self.records.get(claim, ())

    def seeds_behind(self, record: str, number: str) -> int:
        """Seeds of training behind a number of a record."""
        return self.seeds.get((record, number), self.seeds.get((record, ""), 1))


def load_known(home: Path | None) -> Known:
    """The shipped records and those that were made in a home.

    Args:
        home: ``$KEYTURN_HOME``; None for shipped records alone.

    Raises:
        InputError: a record was edited or is invalid.
    """
    records = {
        # In an order of their own, so that it is all the same in which order they came.
        claim: tuple(sorted(load(claim, home) if home else shipped(claim), key=lambda one: (one.made, one.id)))
        for claim in CLAIMS
    }
    seeds: dict[tuple[str, str], int] = {}
    for claim in CLAIMS:
        for record, details in shipped_runs(claim):
            own = {contrast["key"]: int(contrast["seeds"]) for contrast in details.get("contrasts", ())}
            seeds |= {(record.id, number): count for number, count in own.items()}
            # What is no contrast is pooled over the same runs.
            seeds[record.id, ""] = max(own.values(), default=1)
    return Known(records=records, seeds=seeds)
