"""Show one method, objective or reward of `keyturn train`: summary, source, cost, settings and claims."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from keyturn.atlas import CLAIMS
from keyturn.cli.options import flat_settings
from keyturn.core.errors import unknown
from keyturn.core.rundir import SCHEMA
from keyturn.methods import METHODS
from keyturn.methods.catalogue import catalogue
from keyturn.objectives import OBJECTIVES
from keyturn.rewards.by_name import default_config


def run(name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")], json: bool = False) -> None:
    """Show one method, objective or reward.

    Args:
        name: a name that `keyturn train ls` prints; if an objective and a reward share it, both are shown.
        json: one JSON document on stdout instead of text.
    """
    every = catalogue()
    rows = [row for row in every if row["name"] == name]
    if not rows:
        raise unknown("method", name, {row["name"] for row in every})
    found = [_whole(row) for row in rows]
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "train show", "methods": found}) + "\n")
        return
    console = Console(highlight=False)
    for one in found:
        console.print(Text(_page(one)))


def _whole(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of the listing with its settings, the claims about it and a command to try."""
    name, kind = row["name"], row["kind"]
    if kind == "method":
        method = METHODS[name]
        settings, prefix, needs = method.profiles["demo"], "", sorted(method.needs)
    elif kind == "objective":
        objective = OBJECTIVES[name]()
        settings, prefix, needs = objective.config, "", sorted(objective.needs)
    else:
        settings, prefix, needs = default_config(name), "reward.", []
    return {
        **{key: text for key, text in row.items() if key != "command"},
        "needs": needs,
        "settings": {f"--{prefix}{key}": value for key, value in flat_settings(settings).items()},
        "claims": [claim.id for claim in CLAIMS.values() if name in claim.methods],
        "try": row["command"],
    }


def _page(one: Mapping[str, Any]) -> str:
    kind = one["kind"]
    lines = [f"{one['name']}, {'an' if kind == 'objective' else 'a'} {kind}", "", one["summary"]]
    lines += [f"source: {one['source']}", f"cost: {one['cost']}"]
    lines += [f"needs: {', '.join(one['needs'])}"] if one["needs"] else []
    if one["settings"]:
        lines += ["", "settings (add `--help` to the command below for what they mean):"]
        lines += [f"  {name} {value}" for name, value in one["settings"].items()]
    if one["claims"]:
        lines += ["", "claims about it (keyturn claim show NAME):", *(f"  {name}" for name in one["claims"])]
    return "\n".join([*lines, "", f"try it: {one['try']}", ""])
