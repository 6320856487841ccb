"""The storage of evidence: shipped with keyturn, made here, imported from others, reported by papers.

    $KEYTURN_HOME/evidence/CLAIM.jsonl                    made here
    $KEYTURN_HOME/evidence/runs/DIGEST.json               what is behind a record: setting, contrasts, rows
    $KEYTURN_HOME/evidence/imported/WHOM/CLAIM.jsonl      imported, see :mod:`keyturn.atlas.imported`
    $KEYTURN_HOME/evidence/reported/CLAIM.jsonl           published numbers, see :mod:`keyturn.atlas.reported`
    keyturn/assets/atlas/evidence/CLAIM.json              shipped, with what is behind

A line is a record, preceded by the hash of its text. An invalid record is refused with file and line.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import filelock

from keyturn.atlas.evidence import (
    MINE,
    RECORD_SCHEMA,
    SHIPPED,
    TEXTS,
    Evidence,
    Origin,
    canonical,
    digest_of,
    merged,
    run_name,
    wrong,
)
from keyturn.core.collector import no_collector
from keyturn.core.errors import InputError
from keyturn.core.identity import identity
from keyturn.core.jsonl import append_jsonl, lines_of
from keyturn.core.measurement import Estimate, Json
from keyturn.core.rundir import SCHEMA, check_schema, file_hash, read_json, storage_errors, write_json

ASSETS = Path(__file__).parent.parent / "assets" / "atlas" / "evidence"
_HEAD = b'{"digest": "'
_BODY = len(_HEAD) + 32 + len(b'", ')
_AGAIN = "delete the line and run the claim's study again"
_FIELDS = frozenset((*TEXTS, "schema", "version", "base_made", "seed", "n", "numbers", "environment"))
_CELL = {"value", "low", "high"}
_CELL_ON = {*_CELL, "basis"}


def home() -> Path:
    """The folder of evidence: ``$KEYTURN_HOME``, or ``runs`` in the working directory."""
    return Path(os.environ.get("KEYTURN_HOME", "runs"))


def load(claim: str, folder: Path, *, everything: bool = False) -> tuple[Evidence, ...]:
    """The records that count for a claim: shipped, made here, or imported and counted; each run once.

    Args:
        claim: its id.
        folder: the home.
        everything: whether all imported records count.

    Raises:
        InputError: a record was edited, lacks something, or says what cannot be.
        NewerError: a newer keyturn wrote a record.
    """
    others = [one for whom in imported_from(folder) if everything or counts(whom, folder)
              for one in imported(claim, folder, whom)]  # fmt: skip
    return merged((*shipped(claim), *mine(claim, folder), *others))


def imported_from(folder: Path) -> tuple[str, ...]:
    """From whom there are imported records, in order of their names."""
    place = folder / "evidence" / "imported"
    return tuple(sorted(path.name for path in place.iterdir())) if place.is_dir() else ()


def imported(claim: str, folder: Path, whom: str) -> tuple[Evidence, ...]:
    """The records of a claim that were imported from somebody."""
    path = folder / "evidence" / "imported" / whom / f"{claim}.jsonl"
    return records_in(path, Origin(kind="imported", whom=whom))


def about_path(whom: str, folder: Path) -> Path:
    """The file with the facts known about one contributor's records."""
    return folder / "evidence" / "imported" / whom / "about.json"


def own_name(folder: Path) -> str:
    """Who the owner of a home is to others, as the last export said; "" where none has."""
    path = folder / "evidence" / "name.json"
    name = read_json(path).get("name") if path.exists() else ""
    return name if isinstance(name, str) else ""


def keep_name(name: str, folder: Path) -> None:
    """Keep who the owner of a home is to others."""
    write_json(folder / "evidence" / "name.json", {"schema": SCHEMA, "name": name})


def maker(one: Evidence, folder: Path | None) -> str:
    """Who made a record, by the same name in every home that has it: "" for what ships, and for a record of
    one's own where one has given no name."""
    return one.origin.whom or (own_name(folder) if folder and one.origin.kind == "mine" else "")


def counts(whom: str, folder: Path) -> bool:
    """Whether the records from somebody count in the verdicts of this home."""
    path = about_path(whom, folder)
    return path.exists() and read_json(path).get("counts") is True


def mine(claim: str, folder: Path) -> tuple[Evidence, ...]:
    """The records that were made in a home, one a line."""
    return records_in(folder / "evidence" / f"{claim}.jsonl", MINE)


def shipped(claim: str) -> tuple[Evidence, ...]:
    """The records of a claim that ship with keyturn."""
    return tuple(one for one, _ in shipped_runs(claim))


@cache
def shipped_runs(claim: str) -> tuple[tuple[Evidence, Mapping[str, Any]], ...]:
    """Shipped records with what is behind them: ``setting``, ``contrasts``, ``rows``."""
    path = ASSETS / f"{claim}.json"
    if not path.exists():
        return ()
    found = []
    for number, row in enumerate(read_json(path)["records"], start=1):  # type: ignore[arg-type]
        where = f"{path}, record {number}"
        details = row.pop("details")  # type: ignore[union-attr,call-overload]
        found.append((parsed(row, where, SHIPPED), details))  # type: ignore[arg-type]
    return tuple(found)


def append(evidence: Evidence, folder: Path, behind: Mapping[str, Any] | None = None) -> Path:
    """Add a record to its claim's file; processes that add at the same time wait for one another.

    Args:
        evidence: the record.
        folder: the home.
        behind: ``setting``, ``contrasts`` and ``rows`` of the run, which are kept beside.
    """
    path = folder / "evidence" / f"{evidence.claim}.jsonl"
    if behind is not None:
        write_json(behind_path(evidence, folder), behind)
    with adding_to(path):
        append_jsonl(path, line_of(evidence), flush=True)
    return path


def behind_path(evidence: Evidence, folder: Path) -> Path:
    """The file with a record's setting, contrasts and rows."""
    return folder / "evidence" / "runs" / f"{evidence.digest}.json"


def behind(evidence: Evidence, folder: Path | None) -> Mapping[str, Any]:
    """What is behind a record: ``setting``, ``contrasts``, ``rows``; empty where nobody kept it.

    Args:
        evidence: one record; of a repeated run, one of its ``parts``.
        folder: the home; None for what ships alone.
    """
    if evidence.origin.kind == "shipped":
        digest = evidence.digest
        return next((found for one, found in shipped_runs(evidence.claim) if one.digest == digest), {})
    path = None if folder is None else behind_path(evidence, folder)
    return read_json(path) if path is not None and path.exists() else {}


@contextmanager
def adding_to(path: Path) -> Iterator[None]:
    """Hold a file of records, so that no other process adds to it meanwhile."""
    lock = path.with_name(f".{path.stem}.lock")
    with storage_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):
            yield


def line_of(evidence: Evidence) -> dict[str, Json]:
    """A record as its line: the digest, then the canonical content."""
    text = canonical(evidence.content())
    return {"digest": digest_of(text), **json.loads(text)}


_known_files: dict[tuple[Path, Origin], tuple[str, tuple[Evidence, ...]]] = {}
"""File and origin -> hash of the file and its records, as this process last read it."""


def records_in(path: Path, origin: Origin) -> tuple[Evidence, ...]:
    """All records of a file, one a line, each line once; a file that did not change is parsed once.

    Raises:
        InputError: a record was edited, lacks something, or says what cannot be.
        NewerError: a newer keyturn wrote a record.
    """
    content = file_hash(path) if path.is_file() else ""
    known = _known_files.get((path, origin))
    if known is None or known[0] != content or not content:
        known = content, _parsed_records(path, origin)
        _known_files[path, origin] = known
    return known[1]


def _parsed_records(path: Path, origin: Origin) -> tuple[Evidence, ...]:
    found: dict[object, Evidence] = {}
    name = str(path)
    with no_collector():
        for number, raw, row in lines_of(path):
            if row.get("schema", 1) == 1:
                one = _first_schema(row, f"{name}, line {number}", origin)
                found[canonical(one.content())] = one
                continue
            digest = row.pop("digest", None)
            # A line as we write it is its own canonical text: hashing it is all there is to check.
            plain = raw.startswith(_HEAD) and digest_of("{" + raw[_BODY:].decode()) == digest
            if digest in found and plain:
                continue
            one = parsed(row, f"{name}, line {number}", origin)
            if not plain and digest != one.digest:
                raise InputError(
                    f"{path}, line {number}: the record was edited after it was written", fix=_AGAIN
                )
            found[digest] = one
    return tuple(found.values())


def parsed(row: Mapping[str, Any], where: str, origin: Origin) -> Evidence:
    """A record of what a row says, every field checked.

    Args:
        row: without its digest.
        where: file and line, for messages.
        origin: where it comes from.

    Raises:
        InputError: a field is missing, unknown, of another type, or says what cannot be.
        NewerError: a newer keyturn wrote it.
    """
    check_schema(row, where, _AGAIN, newest=RECORD_SCHEMA)
    if row.keys() != _FIELDS:
        missing, strange = sorted(_FIELDS - row.keys()), sorted(row.keys() - _FIELDS)
        said = f"lacks {', '.join(missing)}" if missing else f"has an unknown field {strange[0]!r:.60}"
        raise InputError(f"{where}: the record {said}", fix=_AGAIN)
    for name in TEXTS:
        if type(row[name]) is not str:
            raise InputError(f"{where}: {name} is no text", fix=_AGAIN)
    for name, least in (("version", 1), ("seed", -math.inf), ("n", 0)):
        if type(row[name]) is not int or row[name] < least:
            raise InputError(f"{where}: {name} is {row[name]!r:.40}, which cannot be", fix=_AGAIN)
    if type(row["base_made"]) is not bool:
        raise InputError(f"{where}: base_made is neither true nor false", fix=_AGAIN)
    if row["profile"] not in ("short", "long"):
        raise InputError(f"{where}: profile is {row['profile']!r:.40}, not short or long", fix=_AGAIN)
    if not inside(row["run"]):
        raise InputError(f"{where}: run is {row['run']!r:.60}, no name within a home", fix=_AGAIN)
    environment = row["environment"]
    if type(environment) is not dict or not all(type(value) is str for value in environment.values()):
        raise InputError(f"{where}: environment is not names and texts", fix=_AGAIN)
    numbers, basis = _numbers(row["numbers"], where)
    plain = {name: row[name] for name in (*TEXTS, "version", "seed", "n", "base_made")}
    return Evidence(**plain, numbers=numbers, basis=basis, environment=environment, origin=origin)


def _numbers(cells: Any, where: str) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """The numbers of a record and what they rest on.

    Raises:
        InputError: one cannot be.
    """
    if type(cells) is not dict:
        raise InputError(f"{where}: numbers is no object", fix=_AGAIN)
    numbers: dict[str, Estimate] = {}
    basis: dict[str, Any] = {}
    for name, cell in cells.items():
        if type(cell) is not dict or not (cell.keys() == _CELL or cell.keys() == _CELL_ON):
            raise InputError(f"{where}: {name!r:.60} is not a value with low and high", fix=_AGAIN)
        if "basis" in cell:
            if cell["basis"] not in ("exact", "problems"):
                raise InputError(f"{where}: {name!r:.60} rests on {cell['basis']!r:.40}", fix=_AGAIN)
            basis[name] = cell["basis"]
        value, low, high = cell["value"], cell["low"], cell["high"]
        if type(value) is type(low) is type(high) is float and -math.inf < low <= value <= high < math.inf:
            numbers[name] = Estimate(value, low, high)  # the usual case, which needs no further look
            continue
        numbers[name] = number = Estimate(*(_end(end, name, where) for end in (value, low, high)))
        said = wrong(number)
        if said:
            raise InputError(f"{where}: {name} {said}", fix=_AGAIN)
    return numbers, basis


def _end(end: Any, name: str, where: str) -> float:
    """A finite number, or NaN for one that is undefined."""
    if end is None:
        return math.nan
    if type(end) in (float, int) and math.isfinite(end):
        return float(end)
    raise InputError(f"{where}: {name!r:.60} holds {end!r:.40}, which is no finite number", fix=_AGAIN)


def inside(name: str) -> bool:
    """Whether a name with slashes stays within the folder that it is read in, on any system."""
    return not (name.startswith("/") or "\\" in name or ":" in name or "\0" in name or ".." in name.split("/"))


def _first_schema(row: Mapping[str, Any], where: str, origin: Origin) -> Evidence:
    """A record of the first schema, whose id was the hash of its content.

    It says neither profile nor whether the study made its base: the name of its folder tells the one, and the
    base counts as brought, so that two bases stay two.
    """
    content = {name: value for name, value in row.items() if name != "id"}
    if identity(content, length=32) != row.get("id"):
        raise InputError(f"{where}: the record was edited after it was written", fix=_AGAIN)
    run = run_name(str(content.get("run", "")), None)
    added = {
        "schema": RECORD_SCHEMA,
        "run": run,
        "profile": "long" if run.endswith("-long") else "short",
        "base_made": False,
        "tuned": "",
        "problems": "",
        "code": content.get("code", ""),
    }
    return parsed({**content, **added}, where, origin)


def origins_of(evidence: Sequence[Evidence]) -> dict[str, int]:
    """How many records come from where, repeated ones from each of their origins."""
    kinds = [part.origin.kind for one in evidence for part in one.parts or (one,)]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def shipped_document(claim: str, runs: Sequence[tuple[Evidence, Mapping[str, Any]]]) -> dict[str, Any]:
    """The file of a claim's shipped records, for the script that makes them.

    Args:
        claim: its id.
        runs: records with ``setting``, ``contrasts`` and ``rows``.
    """
    return {"claim": claim, "records": [{**one.content(), "details": details} for one, details in runs]}
