"""Evidence: the record that one run of a claim's study left. Appended, never edited.

A record's id is the hash of its content, so that an edited one no longer carries its name and is
refused, and the same one imported twice counts once. A record with an interval that cannot be (upside down,
infinite) is refused when it is made and when it is read.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import filelock

import keyturn
from keyturn.atlas.contract import Claim
from keyturn.core.errors import InputError, NumericsError
from keyturn.core.identity import identity
from keyturn.core.jsonl import append_jsonl, read_jsonl
from keyturn.core.measurement import Estimate, Json, from_json_number, json_number
from keyturn.core.rundir import SCHEMA, check_schema, storage_errors
from keyturn.experiments.contract import Outcome, Subject


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One record.

    Args:
        id: hash of the content.
        claim, version, claim_hash: which claim, and the hash of its protocol when the run was made.
        base, base_name, seed: what it was run on; records of one ``base`` form one cluster.
        numbers: estimands, gates and controls.
        n: problems behind the estimand.
        run: the run directory.
        environment: versions and device.
        made: UTC time, for people; verdicts do not read it.
        code: version of all code behind the study; "" in records of a keyturn that did not note it.
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
    code: str = ""

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
            # Where it was not noted it is left out, so that the record keeps its name.
            **({"code": self.code} if self.code else {}),
        }


def home() -> Path:
    """Where evidence is kept: ``$KEYTURN_HOME``, or ``runs`` here."""
    return Path(os.environ.get("KEYTURN_HOME", "runs"))


def record(claim: Claim, subject: Subject, outcome: Outcome) -> Evidence:
    """The record of one outcome.

    Raises:
        NumericsError: an interval of the study cannot be; nothing is recorded.
    """
    for name, number in outcome.numbers.items():
        wrong = _wrong(number)
        if wrong:
            raise NumericsError(
                f"the study of {claim.id} gave {name} {wrong}; nothing was recorded",
                fix="this is a bug of the study: report it with the command",
            )
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
        "code": claim.code.hash,
    }
    nameless = Evidence(id="", **fields)
    return Evidence(id=identity(nameless.content(), length=32), **fields)


def append(evidence: Evidence, folder: Path) -> Path:
    """Add a record to its claim's file; processes that add at the same time wait for one another."""
    path = folder / "evidence" / f"{evidence.claim}.jsonl"
    lock = path.with_name(f".{evidence.claim}.lock")
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):
            append_jsonl(path, {"id": evidence.id, **evidence.content()}, flush=True)
    return path


def _wrong(number: Estimate) -> str:
    """What is wrong with a number and its interval, in words; undefined ones are fine."""
    shown = f"{number.value:g} [{number.low:g}, {number.high:g}]"
    if any(math.isinf(end) for end in (number.value, number.low, number.high)):
        return f"as {shown}, which is not finite"
    if math.isnan(number.low) != math.isnan(number.high):
        return f"as {shown}, half an interval"
    if math.isnan(number.value) and not math.isnan(number.low):
        return f"as {shown}, an interval of no value"
    if number.low > number.high:
        return f"as {shown}, which is upside down"
    # A percentile interval of a skewed estimate may pass its value by, but not from afar.
    width = number.high - number.low + 1e-9
    if number.value < number.low - width or number.value > number.high + width:
        return f"as {shown}, far from its interval"
    return ""


def load(claim: str, folder: Path) -> tuple[Evidence, ...]:
    """All records of a claim, each once.

    Raises:
        InputError: a record's content is not what its id says (it was edited), or says what cannot be.
        NewerError: a newer keyturn wrote a record.
    """
    path = folder / "evidence" / f"{claim}.jsonl"
    again = "delete the line and run the claim's study again"
    found: dict[str, Evidence] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{path}, line {number}"
        check_schema(row, where, again)
        content = {k: v for k, v in row.items() if k != "id"}
        if identity(content, length=32) != row.get("id"):
            raise InputError(f"{where}: the record was edited after it was written", fix=again)
        try:
            one = _read(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{where}: the record lacks something ({error})", fix=again) from error
        wrong = next((f"{name} {said}" for name, x in one.numbers.items() if (said := _wrong(x))), "")
        if wrong:
            raise InputError(f"{where}: {wrong}", fix=again)
        found[one.id] = one
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
        code=str(row.get("code", "")),
    )
