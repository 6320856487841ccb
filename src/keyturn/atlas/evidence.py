"""Evidence: the record that one run of a claim's study left. Appended, never edited.

A record's id is the hash of its content, so that an edited one no longer carries its name and is
refused, and the same one imported twice counts once.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import keyturn
from keyturn.atlas.contract import Claim, Outcome, Subject
from keyturn.core.errors import InputError
from keyturn.core.measurement import Estimate, Json, from_json_number, json_number
from keyturn.core.rundir import SCHEMA, append_jsonl, identity, read_jsonl


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One record.

    Args:
        id: hash of the content.
        claim, version, claim_hash: which claim, as it stood when the run was made.
        base, base_name, seed: what it was run on; records of one ``base`` form one cluster.
        numbers: estimands, gates and controls.
        n: problems behind the estimand.
        run: the run directory.
        environment: versions and device.
        made: UTC time, for people; verdicts do not read it.
    """

    id: str
    claim: str
    version: int
    claim_hash: str
    base: str
    base_name: str
    seed: int
    numbers: Mapping[str, Estimate]
    n: int
    run: str
    environment: Mapping[str, str]
    made: str

    def content(self) -> dict[str, Json]:
        """What the id is the hash of."""
        return {
            "schema": SCHEMA,
            "claim": self.claim,
            "version": self.version,
            "claim_hash": self.claim_hash,
            "base": self.base,
            "base_name": self.base_name,
            "seed": self.seed,
            "numbers": {
                k: {f: json_number(getattr(v, f)) for f in ("value", "low", "high")}
                for k, v in self.numbers.items()
            },
            "n": self.n,
            "run": self.run,
            "environment": dict(self.environment),
            "made": self.made,
        }


def home() -> Path:
    """Where evidence is kept: ``$KEYTURN_HOME``, or ``runs`` here."""
    return Path(os.environ.get("KEYTURN_HOME", "runs"))


def record(claim: Claim, subject: Subject, outcome: Outcome) -> Evidence:
    """The record of one outcome."""
    fields = {
        "claim": claim.id,
        "version": claim.version,
        "claim_hash": claim.hash,
        "base": outcome.base,
        "base_name": outcome.base_name,
        "seed": subject.seed,
        "numbers": outcome.numbers,
        "n": outcome.n,
        "run": outcome.run,
        "environment": {
            "keyturn": keyturn.__version__,
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "machine": platform.machine(),
        },
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    nameless = Evidence(id="", **fields)
    return Evidence(id=identity(nameless.content(), length=32), **fields)


def append(evidence: Evidence, folder: Path) -> Path:
    """Add a record to its claim's file."""
    path = folder / "evidence" / f"{evidence.claim}.jsonl"
    append_jsonl(path, {"id": evidence.id, **evidence.content()})
    return path


def load(claim: str, folder: Path) -> tuple[Evidence, ...]:
    """All records of a claim, each once.

    Raises:
        InputError: a record's content is not what its id says (it was edited).
    """
    path = folder / "evidence" / f"{claim}.jsonl"
    found: dict[str, Evidence] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        content = {k: v for k, v in row.items() if k != "id"}
        if identity(content, length=32) != row.get("id"):
            raise InputError(
                f"{path}, line {number}: the record was edited after it was written",
                fix="delete the line and run the claim's study again",
            )
        found[str(row["id"])] = _read(row)
    return tuple(found.values())


def _read(row: Mapping[str, Json]) -> Evidence:
    numbers = {
        name: Estimate(*(from_json_number(cell[f]) for f in ("value", "low", "high")))  # type: ignore[index,call-overload]
        for name, cell in row["numbers"].items()  # type: ignore[union-attr]
    }
    plain = {
        k: row[k] for k in ("id", "claim", "version", "claim_hash", "base", "base_name", "seed", "n", "run")
    }
    return Evidence(
        **plain,  # type: ignore[arg-type]
        numbers=numbers,
        environment=row["environment"],  # type: ignore[arg-type]
        made=str(row["made"]),
    )
