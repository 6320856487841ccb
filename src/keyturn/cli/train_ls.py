"""List methods, objectives and rewards."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA
from keyturn.methods.catalogue import catalogue

_HEADINGS = {
    "method": "methods: keyturn train NAME MODEL",
    "objective": "objectives of RL: keyturn train NAME MODEL",
    "reward": "rewards of RL: keyturn train OBJECTIVE MODEL --reward NAME",
}


def run(json: bool = False) -> None:
    """List methods, objectives and rewards, one per line; `keyturn train show NAME` prints the rest.

    Args:
        json: one JSON document on stdout instead of text.
    """
    rows = methods()
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "train ls", "methods": rows}) + "\n")
        return
    groups = {
        heading: [(row["name"], row["summary"]) for row in rows if row["kind"] == kind]
        for kind, heading in _HEADINGS.items()
    }
    listing(groups, footer="keyturn train show NAME: source, cost, settings, claims, a command to try")


def methods() -> list[dict[str, str]]:
    """Methods, objectives and rewards, each with ``name``, ``kind``, ``summary``, ``source`` and ``cost``."""
    return [{key: text for key, text in row.items() if key != "command"} for row in catalogue()]
