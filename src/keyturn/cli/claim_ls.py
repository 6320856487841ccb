"""List the claims with the verdict of the evidence on each: the records that ship with keyturn, and your
own."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.atlas import CLAIMS
from keyturn.atlas.contract import Claim
from keyturn.atlas.store import home, load, origins_of
from keyturn.atlas.verdict import verdict
from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA
from keyturn.experiments import EXPERIMENTS
from keyturn.methods import METHODS

_HEADINGS = ("what RL does to a base", "objectives and rewards", "methods and experiments")


def run(json: bool = False) -> None:
    """List the claims, one per line; `keyturn claim show NAME` prints the rest.

    Args:
        json: one JSON document on stdout instead of text.
    """
    evidence = {claim.id: load(claim.id, home()) for claim in CLAIMS.values()}
    found = {claim.id: verdict(claim, evidence[claim.id]) for claim in CLAIMS.values()}
    if json:
        rows = [
            {
                **claim.to_json(),
                "verdict": found[claim.id].to_json(),
                "origins": origins_of(evidence[claim.id]),
                "records": [one.to_json() for one in evidence[claim.id]],
            }
            for claim in CLAIMS.values()
        ]
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "claim ls", "claims": rows}) + "\n")
        return
    groups: dict[str, list[tuple[str, str, str]]] = {heading: [] for heading in _HEADINGS}
    unsure = False
    for claim in CLAIMS.values():
        said = found[claim.id]
        early = bool(said.preliminary and said.records)
        unsure |= early
        state = f"{said.state}{'?' if early else ''}"
        groups[_heading(claim)].append((claim.id, state, claim.question))
    footer = "keyturn claim show NAME: statement, threshold, study; claim run NAME tests it"
    listing(groups, footer=("?: preliminary, from few records\n" if unsure else "") + footer)


def _heading(claim: Claim) -> str:
    if not claim.methods:
        return _HEADINGS[0]
    return _HEADINGS[2 if claim.methods[0] in {**METHODS, **EXPERIMENTS} else 1]
