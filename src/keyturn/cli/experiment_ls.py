"""List the experiments, which pretrain their own bases to answer a question."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA
from keyturn.experiments import EXPERIMENTS


def run(json: bool = False) -> None:
    """List the experiments, one per line; `keyturn experiment show NAME` prints the rest.

    Args:
        json: one JSON document on stdout instead of text.
    """
    if json:
        rows = [
            {"name": name, "summary": one.summary, "source": one.source, "cost": one.cost}
            for name, one in EXPERIMENTS.items()
        ]
        sys.stdout.write(
            jsonlib.dumps({"schema": SCHEMA, "command": "experiment ls", "experiments": rows}) + "\n"
        )
        return
    rows = [(name, one.summary) for name, one in EXPERIMENTS.items()]
    listing(
        {"experiments pretrain their own bases: keyturn experiment run NAME": rows},
        footer="keyturn experiment show NAME: source, cost, settings, claims",
    )
