"""Show one elicitation method: what it does, where it is from, what it costs, what it is held against."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from keyturn.cli.elicit_ls import methods
from keyturn.cli.options import flat_settings
from keyturn.core.errors import unknown
from keyturn.core.rundir import SCHEMA
from keyturn.elicitation import ELICITATIONS
from keyturn.elicitation.contract import NEEDS


def run(name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")], json: bool = False) -> None:
    """Show one elicitation method.

    Args:
        name: as `keyturn elicit ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    if name not in ELICITATIONS:
        raise unknown("elicitation method", name, ELICITATIONS)
    found = whole(name)
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "elicit show", "method": found}) + "\n")
        return
    Console(highlight=False).print(Text(_page(found)))


def whole(name: str) -> dict[str, Any]:
    """A row of the listing with what the method needs, what can be set and a command to try."""
    method = ELICITATIONS[name]
    [row] = [row for row in methods() if row["name"] == name]
    flat, neutral = flat_settings(method.config), flat_settings(method.neutral)
    teacher = " --teacher TUNED" if "teacher" in method.needs else ""
    return {
        **row,
        "needs": [NEEDS[need][0] for need in sorted(method.needs)],
        "settings": {f"--{key}": value for key, value in flat.items()},
        "neutral": {f"--{key}": value for key, value in neutral.items() if flat[key] != value},
        "try": f"keyturn elicit {name} {method.example}{teacher} --per-cell 4 --draws 2",
    }


def _page(one: Mapping[str, Any]) -> str:
    lines = [f"{one['name']}, an elicitation {one['kind']}", "", one["summary"], f"source: {one['source']}"]
    lines += [f"cost: {one['cost']}"]
    lines += [f"held against: {one['control']}"] if one["control"] else []
    lines += [f"needs: {', '.join(one['needs'])}"] if one["needs"] else []
    if one["settings"]:
        lines += ["", "settings (`--help` beside METHOD explains them):"]
        lines += [f"  {name} {value!r}" for name, value in one["settings"].items()]
        told = ", ".join(f"{name} {value!r}" for name, value in one["neutral"].items())
        lines += ["", f"plain sampling at: {told}"]
    return "\n".join([*lines, "", f"try it: {one['try']}", ""])
