"""Make the audit of your own models evidence on the claims about RL."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas import CLAIMS
from keyturn.atlas.draws import keep_noted
from keyturn.atlas.from_audit import records_of
from keyturn.atlas.store import append, home, load
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import SCHEMA


def run(
    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    trained_by: str = "",
    base: str = "",
    json: bool = False,
) -> None:
    """Add what an audit found to the evidence on rl-deploys and rl-narrows.

    Args:
        run_folder: run directory of a `keyturn audit`.
        trained_by: by what RL the tuned model was trained, in your words: an audit cannot see it.
        base: name of the base, only where the audit read sample files.
        json: one JSON document on stdout.
    """
    made = records_of(run_folder, trained_by=trained_by, base=base, home=home())
    for one, behind, draws in made:
        keep_noted(one, draws, home())
        append(one, home(), behind)
    said = {one.claim: verdict(CLAIMS[one.claim], load(one.claim, home())) for one, _, _ in made}
    if json:
        document = {
            "schema": SCHEMA,
            "command": "evidence from-audit",
            "records": [one.to_json() for one, _, _ in made],
            "verdicts": {claim: found.to_json() for claim, found in said.items()},
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    for one, _, _ in made:
        sys.stdout.write(f"{one.claim}: a record of {one.base_name}, {one.n} problems\n")
    for claim, found in said.items():
        early = ", preliminary" if found.preliminary else ""
        sys.stdout.write(f"verdict on {claim}: {found.state}{early}. {found.why}\n")
