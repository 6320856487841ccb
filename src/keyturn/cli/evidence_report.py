"""Write down a number that a paper reports, to stand beside what was measured."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from typing import Annotated

import tyro

from keyturn.atlas import claim_named
from keyturn.atlas.reported import Reported, report
from keyturn.atlas.store import home
from keyturn.core.measurement import Estimate
from keyturn.core.rundir import SCHEMA


def run(
    claim: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CLAIM")],
    number: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NUMBER")],
    value: float,
    source: str,
    low: float = math.nan,
    high: float = math.nan,
    n: int = 0,
    locator: str = "",
    json: bool = False,
) -> None:
    """Write down a published number. It is shown beside the evidence and enters no verdict.

    Args:
        claim: its id, as `keyturn claim ls` prints it.
        number: which of the claim's numbers it is to be held against, as `keyturn claim show` names them.
        value: on the scale of that number: a difference of shares as .12, not as 12.
        source: arxiv:2504.13837, doi:10.... or an address.
        low: lower end of the 95 % interval, where the paper gives one.
        high: upper end.
        n: problems, runs or models behind it, where the paper says.
        locator: where in the source: "table 3".
        json: one JSON document on stdout.
    """
    found = claim_named(claim)
    told = Reported(
        claim=found.id,
        number=number,
        estimate=Estimate(value, low, high),
        n=n,
        source=source,
        locator=locator,
    )
    path = report(found, told, home())
    if json:
        document = {"schema": SCHEMA, "command": "evidence report", "reported": told.to_json()}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{found.id}: {number} {value:g} ({source}) written to {path}; it enters no verdict\n")
