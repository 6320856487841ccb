"""Facts whose state moved: updates by records apart from amendments of what is asked."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas.changes import Change, Snapshot, changes, read_snapshot, snapshot
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.cli.answer_text import wrapped
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA, write_json
from keyturn.core.text import visible

SHIPPED = "shipped"


def run(
    old: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OLD")],
    new: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NEW")],
    save: Path | None = None,
    json: bool = False,
) -> None:
    """Compare two states of the atlas.

    Args:
        old: a home ($KEYTURN_HOME of then), a file that --save wrote, or `shipped` for what ships alone.
        new: the same, for now.
        save: write the states of NEW to this file, to be compared with later.
        json: one JSON document on stdout instead of text.
    """
    before, after = _states(old), _states(new)
    if save:
        write_json(save, after.to_json())
    found = changes(before, after)
    if json:
        document = {"schema": SCHEMA, "command": "atlas diff", "changes": [one.to_json() for one in found]}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    lines = []
    for kind, heading in (
        ("update", "updates: new records"),
        ("amendment", "amendments: what is asked changed"),
    ):
        some = [one for one in found if one.kind == kind]
        if some:
            lines += [heading, *(line for one in some for line in _change(one)), ""]
    sys.stdout.write(
        visible("\n".join(lines), max_line=0) + f"{len(found)} of {len(after.facts)} facts moved\n"
    )


def _states(name: str) -> Snapshot:
    if name == SHIPPED:
        return snapshot(load_atlas(), load_known(None))
    path = Path(name)
    if path.is_file():
        return read_snapshot(path)
    if not path.is_dir():
        raise UsageError(
            f"{name} is no home and no file of states", fix="a folder, a file of --save, or shipped"
        )
    return snapshot(load_atlas(path), load_known(path))


def _change(one: Change) -> list[str]:
    because = [f"record {x}" if not x.startswith("-") else f"without record {x[1:]}" for x in one.records]
    because += [f"reading {x}" for x in one.amended]
    first, *rest = wrapped(f"{one.before} -> {one.after}: {one.says}", "    ")
    return ["  - " + first[4:], *rest, f"      {one.fact}", *(f"      because of {x}" for x in because)]
