"""Check the collection: ids, references, circles, numbers in prose, and texts that would act."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.atlas.checks import lint
from keyturn.atlas.known import load_known
from keyturn.atlas.store import home
from keyturn.core.rundir import SCHEMA
from keyturn.core.text import one_line


def run(json: bool = False) -> int:
    """Check notes, questions, experiments and papers: your own first, then the shipped ones.

    A line for each problem: file, line, what is wrong, what to write instead. The exit code is 1 where there is
    one.

    Args:
        json: one JSON document on stdout instead of text.
    """
    problems = lint(home(), load_known(home()))
    if json:
        rows = [
            {"file": one.place.file, "line": one.place.line, "what": one.what, "fix": one.fix}
            for one in problems
        ]
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "atlas lint", "problems": rows}) + "\n")
        return int(bool(problems))
    for one in problems:
        sys.stdout.write(one_line(str(one), 2000) + "\n")
    found = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "nothing is wrong"
    sys.stdout.write(f"{found} in the shipped collection and {home() / 'atlas'}\n")
    return int(bool(problems))
