"""Show one claim: its statement, what decides it, what would refute it, and how it is tested."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from typing import Annotated

import tyro
from rich.console import Console
from rich.markdown import Markdown

from keyturn.atlas import claim_named
from keyturn.atlas.contract import Claim, Gate
from keyturn.atlas.reported import reported
from keyturn.atlas.store import home, load, origins_of
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import SCHEMA


def run(
    claim: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")], json: bool = False
) -> None:
    """Show one claim.

    Args:
        claim: the claim's id, as `keyturn claim ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    found = claim_named(claim)
    if json:
        document = {"schema": SCHEMA, "command": "claim show", "claim": {**found.to_json(), "hash": found.hash}}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    Console().print(Markdown(_page(found)))
    evidence = load(found.id, home())
    said = verdict(found, evidence)
    early = " (preliminary)" if said.preliminary and said.records else ""
    told = ", ".join(f"{count} {kind}" for kind, count in origins_of(evidence).items())
    sys.stdout.write(f"\nevidence: {said.state}{early}, {told or 'no record'}\n")
    for one in reported(found.id, home()):
        place = f", {one.locator}" if one.locator else ""
        interval = "" if math.isnan(one.estimate.low) else f" [{one.estimate.low:g}, {one.estimate.high:g}]"
        said_there = f"{one.number} {one.estimate.value:g}{interval}"
        sys.stdout.write(f"reported, in no verdict: {said_there} ({one.source}{place})\n")
    sys.stdout.write(f"run it: keyturn claim run {found.id}\n")


def _page(claim: Claim) -> str:
    sign = "at least" if claim.threshold.direction > 0 else "at most"
    lines = [
        f"# {claim.id}, version {claim.version}",
        f"*{claim.question}*",
        f"**{claim.statement}**",
        f"Source: {claim.source}",
        f"- **decides**: {claim.threshold.says}, {sign} {claim.threshold.smallest:g} ({claim.threshold.why})",
        *(f"- **gate** (else not applicable): {_condition(g)}" for g in claim.gates),
        *(f"- **control** (else invalid): {_condition(g)}" for g in claim.controls),
        f"- **study**: {claim.study_says}",
        f"- **refuted if** {claim.refuted_if}",
        *([f"- **not shown**: {claim.not_shown}"] if claim.not_shown else []),
        *(f"- **{kind}** {other}: {why}" for other, (kind, why) in claim.relations.items()),
    ]
    return "\n\n".join(lines[:4]) + "\n\n" + "\n".join(lines[4:])


def _condition(gate: Gate) -> str:
    return f"{gate.says} [the whole interval of {gate.name} {gate.bounds}]"
