"""Let imported records count in your verdicts, or no longer."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro

from keyturn.atlas.imported import signature_in_words, signed, trust
from keyturn.atlas.store import home
from keyturn.core.rundir import SCHEMA


def run(
    whom: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    no: bool = False,
    json: bool = False,
) -> None:
    """Let the records that were imported from NAME count in verdicts here.

    Args:
        whom: the name, as `keyturn evidence ls` shows it.
        no: they no longer count.
        json: one JSON document on stdout.
    """
    trust(whom, home(), yes=not no)
    signature = signature_in_words(whom, home())
    if json:
        document = {"schema": SCHEMA, "command": "evidence trust", "whom": whom, "counts": not no}
        document["signed"] = signed(whom, home())
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(
        f"records from {whom} {'no longer count' if no else 'count'} in verdicts here; {signature}\n"
    )
