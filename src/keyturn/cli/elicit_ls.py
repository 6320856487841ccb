"""List the elicitation methods and their controls."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA
from keyturn.elicitation import ELICITATIONS


def run(json: bool = False) -> None:
    """List the elicitation methods, a line each; `keyturn elicit show NAME` says the rest.

    Args:
        json: one JSON document on stdout instead of text.
    """
    rows = methods()
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "elicit ls", "methods": rows}) + "\n")
        return
    headings = {
        "method": "methods: keyturn elicit NAME MODEL",
        "control": "controls: what a method is held against",
    }
    groups = {
        heading: [(row["name"], row["summary"]) for row in rows if row["kind"] == kind]
        for kind, heading in headings.items()
    }
    listing(groups, footer="keyturn elicit show NAME: source, cost, control, settings, a command to try")


def methods() -> list[dict[str, str]]:
    """Every method: ``name``, ``kind``, ``summary``, ``source``, ``cost``, ``control``."""
    return [
        {
            "name": name,
            "kind": "control" if method.controls else "method",
            "summary": method.summary,
            "source": method.source,
            "cost": method.cost,
            "control": ", ".join(method.control),
        }
        for name, method in ELICITATIONS.items()
    ]
