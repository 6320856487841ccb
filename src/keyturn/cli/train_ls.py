"""List the methods of `keyturn train`: recipes and objectives."""

from __future__ import annotations

import json as jsonlib
import sys

from rich.console import Console
from rich.table import Table

from keyturn.core.rundir import SCHEMA
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS
from keyturn.training.recipes import RECIPES

_COST = "demo: the embedded run of its world; study: ten times as long; real: 200 steps of 32 x 8 draws"


def run(json: bool = False) -> None:
    """List recipes, objectives and rewards.

    Args:
        json: one JSON document on stdout instead of a table.
    """
    rows = methods()
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "train ls", "methods": rows}) + "\n")
        return
    table = Table()
    for column in ("name", "kind", "what it does", "source"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row["name"], row["kind"], row["summary"], row["source"])
    Console().print(table)


def methods() -> list[dict[str, str]]:
    """Everything that trains: ``name``, ``kind``, ``summary``, ``source``, ``cost``."""
    rows = []
    for name, recipe in RECIPES.items():
        rows.append(_row(name, "recipe", recipe.summary, recipe.source, recipe.cost))
    for name, make in OBJECTIVES.items():
        objective = make()
        rows.append(_row(name, "objective", objective.summary, objective.source, _COST))
    for name, make in REWARDS.items():
        reward = make()
        rows.append(_row(name, "reward", reward.summary, reward.source, "one pass over the completions' text"))
    return rows


def _row(name: str, kind: str, summary: str, source: str, cost: str) -> dict[str, str]:
    return {"name": name, "kind": kind, "summary": summary, "source": source, "cost": cost}
