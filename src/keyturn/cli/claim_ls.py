"""List the claims with what your own evidence says of each."""

from __future__ import annotations

import json as jsonlib
import sys

from rich.console import Console
from rich.table import Table

from keyturn.atlas import CLAIMS
from keyturn.atlas.evidence import home, load
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import SCHEMA


def run(json: bool = False) -> None:
    """List the claims.

    Args:
        json: one JSON document on stdout instead of a table.
    """
    found = {claim.id: verdict(claim, load(claim.id, home())) for claim in CLAIMS.values()}
    if json:
        rows = [{**claim.to_json(), "verdict": found[claim.id].to_json()} for claim in CLAIMS.values()]
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "claim ls", "claims": rows}) + "\n")
        return
    table = Table(show_lines=True)
    # An id is there to be copied: it is never broken over lines.
    table.add_column("claim", no_wrap=True)
    for column in ("statement", "your evidence", "records"):
        table.add_column(column, overflow="fold")
    for claim in CLAIMS.values():
        said = found[claim.id]
        state = f"{said.state}{' (preliminary)' if said.preliminary and said.records else ''}"
        table.add_row(claim.id, claim.statement, state, str(said.records))
    Console().print(table)
