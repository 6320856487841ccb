"""Show one experiment: its summary, source, cost, settings and claims."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro
from rich.console import Console
from rich.text import Text

from keyturn.atlas import CLAIMS
from keyturn.cli.experiment_run import experiment_named
from keyturn.cli.options import flat_settings
from keyturn.core.rundir import SCHEMA


def run(name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")], json: bool = False) -> None:
    """Show one experiment.

    Args:
        name: the experiment's name, as `keyturn experiment ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    one = experiment_named(name)
    settings = {f"--{key}": value for key, value in flat_settings(one.profiles["demo"]).items()}
    claims = [claim.id for claim in CLAIMS.values() if name in claim.methods]
    command = f"keyturn experiment run {name} --dry-run"
    if json:
        found = {"name": name, "summary": one.summary, "source": one.source, "cost": one.cost}
        found |= {"settings": settings, "claims": claims, "try": command}
        document = {"schema": SCHEMA, "command": "experiment show", "experiment": found}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    lines = [f"{name}, an experiment", "", one.summary, f"source: {one.source}", f"cost: {one.cost}"]
    lines += ["", f"settings (keyturn experiment run {name} --help explains them):"]
    lines += [f"  {option} {value}" for option, value in settings.items()]
    lines += ["", "claims that rest on it (keyturn claim show NAME):", *(f"  {claim}" for claim in claims)]
    Console(highlight=False).print(Text("\n".join([*lines, "", f"try it: {command}", ""])))
