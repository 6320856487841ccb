"""List methods, objectives and rewards."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA
from keyturn.methods import METHODS
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS

COST = "demo: the embedded run of its world; study: ten times as long; real: 200 steps of 32 x 8 draws"
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
    rows = []
    for name, method in METHODS.items():
        rows.append(_row(name, "method", method.summary, method.source, method.cost))
    for name, make in OBJECTIVES.items():
        objective = make()
        rows.append(_row(name, "objective", objective.summary, objective.source, COST))
    for name, make in REWARDS.items():
        reward = make()
        rows.append(_row(name, "reward", reward.summary, reward.source, "one pass over the completions' text"))
    return rows


def _row(name: str, kind: str, summary: str, source: str, cost: str) -> dict[str, str]:
    return {"name": name, "kind": kind, "summary": summary, "source": source, "cost": cost}
