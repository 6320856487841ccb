"""Take over the evidence in a bundle."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas.bundle import read_bundle
from keyturn.atlas.checking import check
from keyturn.atlas.imported import add, name_of, trust
from keyturn.atlas.signatures import signature_of
from keyturn.atlas.store import home
from keyturn.cli.evidence_verify import signers_of
from keyturn.core.errors import InputError
from keyturn.core.rundir import SCHEMA


def run(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    whom: Annotated[str, tyro.conf.arg(name="from")] = "",
    count: bool = False,
    signers: Path | None = None,
    json: bool = False,
) -> None:
    """Add the records of a bundle to this home; a second import of the same changes nothing.

    Args:
        file: what `keyturn evidence export` wrote; its signature lies beside it, FILE.sig.
        whom: from whom it is; else the name that the bundle gives itself.
        count: let records of this name count in verdicts here; else they are only shown.
        signers: whose keys you know, as ssh-keygen reads it; evidence/allowed_signers of your home by default.
        json: one JSON document on stdout.
    """
    bundle, folder = read_bundle(file), home()
    name_of(bundle, whom)
    signature = signature_of(file, signers_of(signers))
    if signature.state == "wrong":
        raise InputError(f"{file}: {signature.says}", fix="ask its maker for both files again")
    checked = check(bundle)
    wrong = [f"{one.evidence.claim}: {said}" for one in checked for said in one.wrong]
    if wrong:
        raise InputError(f"{file}: {wrong[0]}", fix="ask its maker; keyturn evidence verify FILE lists all")
    done = add(bundle, folder, whom=whom, checked=checked, signature=signature)
    if count:
        trust(done.whom, folder)
    said = asdict(done) | {"counts": done.counts or count, "signature": signature.to_json()}
    if json:
        document = {"schema": SCHEMA, "command": "evidence import", **said}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    counting = "count in verdicts" if said["counts"] else "do not count in verdicts; --count would let them"
    sys.stdout.write(
        f"from {done.whom}: {done.new} new record(s), {done.known} known before; they {counting}\n"
        f"{signature.says}\n"
    )
