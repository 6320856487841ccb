"""Check a bundle of evidence without importing it."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas.bundle import read_bundle
from keyturn.atlas.checking import check
from keyturn.atlas.signatures import signature_of, signers_path
from keyturn.atlas.store import home
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA


def run(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    signers: Path | None = None,
    json: bool = False,
) -> int:
    """Check a bundle: its hashes, its records, and every number that its rows and draws can show.

    The exit code is 1 where one is wrong.

    Args:
        file: what `keyturn evidence export` wrote; its signature lies beside it, FILE.sig.
        signers: whose keys you know, as ssh-keygen reads it; evidence/allowed_signers of your home by default.
        json: one JSON document on stdout.
    """
    found = check(read_bundle(file))
    signature = signature_of(file, signers_of(signers))
    bad = int(signature.state == "wrong" or any(one.wrong for one in found))
    if json:
        rows = [
            {
                "digest": one.evidence.digest,
                "claim": one.evidence.claim,
                "protocol": one.protocol,
                "followed": list(one.followed),
                "wrong": list(one.wrong),
                "left": list(one.left),
                "draws": one.draws,
                "regraded": list(one.regraded),
                "ungraded": list(one.ungraded),
            }
            for one in found
        ]
        document = {"schema": SCHEMA, "command": "evidence verify", "records": rows}
        document["signature"] = signature.to_json()
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return bad
    sys.stdout.write(f"{len(found)} record(s), every hash as it must be\n{signature.says}\n")
    for one in found:
        record = one.evidence
        sys.stdout.write(f"{record.claim}, base {record.base_name}, seed {record.seed}:\n")
        if not one.protocol:
            sys.stdout.write("  of another protocol than this keyturn's: it cannot count here\n")
        if one.followed:
            sys.stdout.write(f"  {len(one.followed)} number(s) follow from the rows\n")
        if one.draws:
            sys.stdout.write(
                f"  {one.draws} draws were graded again; {len(one.regraded)} number(s) follow from them\n"
            )
            rest = [name for name in one.followed if name not in one.regraded]
            if rest:
                sys.stdout.write(f"  {len(rest)} by the rows alone, no draw shows them: {', '.join(rest)}\n")
        for said in one.ungraded:
            sys.stdout.write(f"  not graded again: {said}\n")
        if one.left:
            sys.stdout.write(
                f"  {len(one.left)} number(s) cannot be seen in what it holds: {', '.join(one.left)}\n"
            )
        for said in one.wrong:
            sys.stdout.write(f"  wrong: {said}\n")
    sys.stdout.write("hashes show that nothing was changed by accident, not that it is true\n")
    return bad


def signers_of(named: Path | None) -> Path:
    """The file of known signers: the one that was named, which must be there, or that of the home.

    Raises:
        UsageError: the named file is not there.
    """
    if named is not None and not named.is_file():
        raise UsageError(f"there is no file {named}", fix="a line for each key: NAME ssh-ed25519 AAAA...")
    return named or signers_path(home())
