"""Write your evidence into one file, to be given to somebody else."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.bundle import Bundle, bundle_hash, write_bundle
from keyturn.atlas.store import behind, home, mine
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA


def run(
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.zip")],
    claims: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")] = (),
    name: str = "",
    json: bool = False,
) -> None:
    """Write your own records, and what is behind them, into one ZIP file; the same make the same bytes.

    Args:
        out: the file.
        claims: whose records; all by default.
        name: who you are, as those who import it will see it.
        json: one JSON document on stdout.
    """
    folder = home()
    chosen = [claim_named(claim).id for claim in claims] or list(CLAIMS)
    records = tuple(one for claim in chosen for one in mine(claim, folder))
    if not records:
        of = f" of {', '.join(claims)}" if claims else ""
        raise UsageError(f"no evidence{of} in {folder}", fix="keyturn claim run CLAIM makes some")
    found = {one.digest: behind(one, folder) for one in records}
    bundle = Bundle(whom=name, records=records, behind=found)
    write_bundle(bundle, out)
    if json:
        document = {
            "schema": SCHEMA,
            "command": "evidence export",
            "file": str(out),
            "bundle": bundle_hash(bundle),
            "records": [one.digest for one in records],
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{len(records)} record(s) of {len({one.claim for one in records})} claim(s) in {out}\n")
