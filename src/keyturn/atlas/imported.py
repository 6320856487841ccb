"""Evidence from others: what a bundle brings is added to a home, set by set.

Importing is a union of sets of records: whatever the order of bundles, and however often one is imported, the
same records lie there in the end. Imported records count in verdicts only where the user says so
(:func:`trust`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.atlas import CLAIMS
from keyturn.atlas.bundle import Bundle, bundle_hash
from keyturn.atlas.checking import Checked
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.signatures import UNSIGNED, Signature
from keyturn.atlas.store import (
    about_path,
    adding_to,
    behind,
    behind_path,
    counts,
    imported,
    imported_from,
    line_of,
    mine,
)
from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.numbers import counted
from keyturn.core.rundir import SCHEMA, read_json, storage_errors, write_bytes, write_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did.

    Args:
        whom: the name under which the records lie.
        new: records that were not there.
        known: records that were.
        counts: whether records of that name count in verdicts here.
    """

    whom: str
    new: int
    known: int
    counts: bool


def name_of(bundle: Bundle, asked: str = "") -> str:
    """The name under which a bundle's records lie: what was asked for, what the bundle says, or its hash.

    Raises:
        UsageError: it cannot be the name of a folder.
    """
    name = asked or bundle.whom or f"bundle-{bundle_hash(bundle)}"
    refuse_name(name, "--from NAME")
    return name


def refuse_name(name: str, fix: str) -> None:
    """Refuse what cannot be the name of a folder on every system.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        what = f"{name!r:.80} cannot be a name: letters, digits, dots, dashes, 64 at most"
        raise UsageError(what, fix=fix)


def add(
    bundle: Bundle,
    folder: Path,
    *,
    whom: str = "",
    checked: Iterable[Checked] = (),
    signature: Signature = UNSIGNED,
) -> Imported:
    """Add the records of a bundle to a home; those that are there already are left as they are.

    Args:
        bundle: what was read.
        folder: the home.
        whom: the name under which the records lie; that of the bundle by default.
        checked: what checking the bundle found. Draws do not stay; that they were graded again here does.
        signature: of the bundle. Whoever signed once under a name keeps it: a bundle that another key signed,
            or none, cannot add to it.

    Everything was checked when the bundle was read. What is behind a record is written before the record is,
    and each claim's file is written whole, so that an import that was cut off leaves a home that can be read;
    importing again completes it.

    Raises:
        UsageError: the name cannot be one, or is that of somebody else's key.
        StorageError: the home cannot be written.
    """
    name = name_of(bundle, whom)
    _refuse_another_key(name, folder, signature)
    place = folder / "evidence" / "imported" / name
    with storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    new = 0
    for claim in sorted({one.claim for one in bundle.records}):
        path = place / f"{claim}.jsonl"
        with adding_to(path):
            there = {one.digest: one for one in imported(claim, folder, name)}
            brought = {one.digest: one for one in bundle.records if one.claim == claim}
            new += len(brought.keys() - there.keys())
            for digest, one in brought.items():
                if digest in bundle.behind and not behind_path(one, folder).exists():
                    write_json(behind_path(one, folder), bundle.behind[digest])
            lines = [json.dumps(line_of(one)) for _, one in sorted((there | brought).items())]
            write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    if signature.key:
        keys = {**signed(name, folder), **{one.digest: signature.to_json() for one in bundle.records}}
        _about(name, folder, {"signed": keys})
    for one in checked:
        note_seen(one, folder)
    return Imported(whom=name, new=new, known=len(bundle.records) - new, counts=counts(name, folder))


def trust(whom: str, folder: Path, *, yes: bool = True) -> None:
    """Let the records from somebody count in the verdicts of this home, or no longer.

    Raises:
        UsageError: nothing was imported from there.
    """
    if whom not in imported_from(folder):
        raise unknown("source of imported records", whom, imported_from(folder))
    _about(whom, folder, {"counts": yes})


def _about(whom: str, folder: Path, more: Mapping[str, Any]) -> None:
    path = about_path(whom, folder)
    write_json(path, {**(read_json(path) if path.exists() else {}), **more})


def signed(whom: str, folder: Path) -> dict[str, Mapping[str, str]]:
    """Digest of a record -> the signature that it came with; records without one are not there.

    Raises:
        InputError: the file that says so is damaged.
    """
    path = about_path(whom, folder)
    found = read_json(path).get("signed", {}) if path.exists() else {}
    sound: dict[str, Mapping[str, str]] = {}
    for digest, one in found.items() if isinstance(found, dict) else ():
        if isinstance(one, dict) and {type(one.get(name)) for name in ("state", "key", "who")} == {str}:
            sound[digest] = {name: str(one[name]) for name in ("state", "key", "who")}
    if not isinstance(found, dict) or len(sound) < len(found):
        what = f"{path} does not say who signed the records"
        raise InputError(what, fix=f"delete it and import the bundles of {whom} again")
    return sound


def signature_in_words(whom: str, folder: Path) -> str:
    """By whom the records of a name are signed."""
    found = signed(whom, folder)
    if not found:
        return f"unsigned: anybody can call themselves {whom}"
    names = dict.fromkeys(
        f"{one['who'] or 'a key that is not known here'} ({one['key']})" for one in found.values()
    )
    return f"{counted(len(found), 'record')} signed by {' and '.join(names)}"


def _refuse_another_key(whom: str, folder: Path, signature: Signature) -> None:
    """Refuse to add to the records of a name what its key did not sign."""
    keys = {one["key"] for one in signed(whom, folder).values()}
    if keys and signature.key not in keys:
        now = f"this bundle by {signature.key}" if signature.key else "this bundle is not signed"
        raise UsageError(
            f"records from {whom} were signed by {' or '.join(sorted(keys))}, and {now}",
            fix="--from ANOTHER-NAME, or ask for a bundle that is signed with that key",
        )


CARRIED = ("numbers only", "rows", "draws graded again")
AGAIN = "run again here"
LEVELS = (*CARRIED[:2], f"{CARRIED[2]} here", AGAIN)
"""How much of an imported record can be seen here, from nothing to everything."""


def seen_path(one: Evidence, folder: Path) -> Path:
    """The file that says which numbers of a record follow from draws that were graded again here."""
    return behind_path(one, folder).with_suffix(".seen.json")


def note_seen(one: Checked, folder: Path) -> None:
    """Keep which numbers of a record follow from draws that were graded again here; nothing where none does."""
    if one.regraded:
        document = {"schema": SCHEMA, "draws": one.draws, "numbers": list(one.regraded)}
        write_json(seen_path(one.evidence, folder), document)


def carried(one: Evidence, folder: Path) -> str:
    """What stands behind a record's number, one of :data:`CARRIED`; the same in every home that has it all.

    Draws count where the number that decides the claim follows from them.
    """
    path, claim = seen_path(one, folder), CLAIMS.get(one.claim)
    seen = read_json(path).get("numbers") if path.exists() else None
    if claim is not None and isinstance(seen, list) and claim.threshold.estimand in seen:
        return CARRIED[2]
    return CARRIED[1] if behind(one, folder).get("rows") else CARRIED[0]


def level(one: Evidence, folder: Path) -> str:
    """How much of an imported record can be seen here, one of :data:`LEVELS`."""
    if any(own.run_key == one.run_key for own in mine(one.claim, folder)):
        return AGAIN
    return LEVELS[CARRIED.index(carried(one, folder))]
