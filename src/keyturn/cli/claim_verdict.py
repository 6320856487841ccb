"""Judge a claim by its recorded evidence."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro

from keyturn.atlas import claim_named
from keyturn.atlas.store import home, load, origins_of
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import SCHEMA


def run(
    claim: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")], json: bool = False
) -> None:
    """Judge a claim by its recorded evidence.

    Args:
        claim: the claim's id, as `keyturn claim ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    found = claim_named(claim)
    evidence = load(found.id, home())
    said, origins = verdict(found, evidence), origins_of(evidence)
    if json:
        document = {
            "schema": SCHEMA,
            "command": "claim verdict",
            "claim": found.id,
            "verdict": said.to_json(),
            "origins": origins,
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    preliminary = " (preliminary)" if said.preliminary and said.records else ""
    sys.stdout.write(f"{found.id}: {said.state}{preliminary}\n  {said.why}\n")
    if origins:
        told = ", ".join(f"{count} {kind}" for kind, count in origins.items())
        sys.stdout.write(f"  records: {told}\n")
    whole = verdict(found, load(found.id, home(), everything=True))
    if whole != said:
        sys.stdout.write(f"  with everything imported it would read: {whole.state}. {whole.why}\n")
    if said.other_code:
        sys.stdout.write(f"  {said.other_code} of these record(s) come from another version of the code\n")
    for reason, count in said.left_out:
        sys.stdout.write(f"  left out: {count} record(s), {reason}\n")
    if not said.records:
        sys.stdout.write(f"  to make one: keyturn claim run {found.id}\n")
