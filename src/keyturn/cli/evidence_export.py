"""Write your evidence into one file, to be given to somebody else."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.bundle import Bundle, bundle_hash, write_bundle
from keyturn.atlas.checking import check
from keyturn.atlas.draws import Packed, packed
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.imported import note_seen, refuse_name
from keyturn.atlas.signatures import sign as signed
from keyturn.atlas.signatures import signature_path
from keyturn.atlas.store import behind, home, keep_name, mine, own_name
from keyturn.core.errors import UsageError
from keyturn.core.progress import progress
from keyturn.core.rundir import SCHEMA


def run(
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.zip")],
    claims: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")] = (),
    name: str = "",
    draws: bool = False,
    sign: Path | None = None,
    json: bool = False,
) -> None:
    """Write your own records, and what is behind them, into one ZIP file; the same make the same bytes.

    Args:
        out: the file.
        claims: whose records; all by default.
        name: who you are, as those who import it will see it; the next export remembers it.
        draws: with the graded answers behind the numbers, so that others can grade them again.
        sign: an SSH key to sign the file with; the signature lies beside it, OUT.zip.sig.
        json: one JSON document on stdout.
    """
    folder = home()
    if name:
        refuse_name(name, "--name NAME")
    name = name or own_name(folder)
    chosen = [claim_named(claim).id for claim in claims] or list(CLAIMS)
    records = tuple(one for claim in chosen for one in mine(claim, folder))
    if not records:
        of = f" of {', '.join(claims)}" if claims else ""
        raise UsageError(f"no evidence{of} in {folder}", fix="keyturn claim run CLAIM makes some")
    found = {one.digest: behind(one, folder) for one in records}
    put = _packed(records, found, folder) if draws else {}
    bundle = Bundle(
        whom=name, records=records, behind=found, draws={digest: one.files for digest, one in put.items()}
    )
    signature_path(out).unlink(missing_ok=True)  # of what lay here before
    write_bundle(bundle, out)
    if name:
        keep_name(name, folder)
    for one in check(bundle) if draws else ():
        note_seen(one, folder)
    signature = None if sign is None else signed(out, sign)
    without = {one.digest: put[one.digest].said for one in records if draws and put[one.digest].said}
    if json:
        document = {
            "schema": SCHEMA,
            "command": "evidence export",
            "file": str(out),
            "bundle": bundle_hash(bundle),
            "records": [one.digest for one in records],
            "draws": [digest for digest, one in put.items() if one.files],
            "without_draws": without,
            "signature": None if signature is None else str(signature),
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{len(records)} record(s) of {len({one.claim for one in records})} claim(s) in {out}\n")
    if signature is not None:
        sys.stdout.write(f"signature in {signature}\n")
    if draws:
        sys.stdout.write(f"draws of {sum(bool(one.files) for one in put.values())} record(s)\n")
        for one in records:
            if one.digest in without:
                sys.stdout.write(f"  {one.claim}, seed {one.seed}: {without[one.digest]}\n")


def _packed(
    records: Sequence[Evidence], found: Mapping[str, Mapping[str, Any]], folder: Path
) -> dict[str, Packed]:
    """Digest -> the draws behind the record."""
    put = {}
    with progress("records with their draws", len(records)) as advance:
        for one in records:
            put[one.digest] = packed(one, found[one.digest], folder)
            advance(1)
    return put
