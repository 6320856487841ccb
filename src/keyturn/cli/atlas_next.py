"""What to run next, and what to write next: by the facts and questions that wait for it, a minute."""

from __future__ import annotations

import json as jsonlib
import math
import sys

from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.next_runs import Candidate, next_runs
from keyturn.atlas.store import home
from keyturn.cli.answer_text import wrapped
from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA


def run(most: int = 8, json: bool = False) -> None:
    """Rank studies to run and experiments to write.

    Args:
        most: entries of each list; 0 for all.
        json: one JSON document on stdout instead of text.
    """
    found = next_runs(load_atlas(home()), load_known(home()))
    if json:
        document = {"schema": SCHEMA, "command": "atlas next", "next": [one.to_json() for one in found]}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    able = [one for one in found if one.written and math.isfinite(one.runs)]
    never = [one for one in found if one.written and not math.isfinite(one.runs)]
    unwritten = [one for one in found if not one.written]
    rows = {"facts, questions, minutes: to run": able, "facts, questions, minutes: to write first": unwritten}
    groups = {name: [_row(one) for one in some[: most or None]] for name, some in rows.items()}
    listing(groups, footer=_footer(able, never))


def _row(one: Candidate) -> tuple[str, str, str, str, str]:
    numbers = str(len(one.facts)), str(len(one.questions)), f"{one.minutes:.0f} min"
    return one.by, *numbers, f"{one.why} ({one.runs:.0f} runs)" if one.runs > 1 else one.why


def _footer(able: list[Candidate], never: list[Candidate]) -> str:
    lines = [f"next: {able[0].command}"] if able else ["no study waits to be run"]
    if never:
        names = ", ".join(one.by for one in never)
        lines += wrapped(f"seeds alone will not decide, their values lie too near the bounds: {names}")
    lines += wrapped("minutes are rough, on one core, and what a run will show is not known before it is run")
    return "\n".join(lines)
