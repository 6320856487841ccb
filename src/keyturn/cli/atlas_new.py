"""Write a file to fill in: a note, a fact or a reading for one, or a question."""

from __future__ import annotations

import json as jsonlib
import math
import sys
from typing import Annotated, Literal

import tyro

from keyturn.atlas.blanks import Asked, new_fact, new_note, new_question, new_reading
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.store import home
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA, storage_errors


def run(
    kind: Annotated[Literal["note", "fact", "reading", "question"], tyro.conf.Positional],
    id: Annotated[str, tyro.conf.Positional],
    claim: str = "",
    number: str = "",
    counts: Literal[">=", "<="] = ">=",
    bound: float = math.nan,
    json: bool = False,
) -> None:
    """Write a file under $KEYTURN_HOME/atlas to fill in; `keyturn atlas lint` says what is left to do.

    Args:
        kind: what to write.
        id: of the note or question (my-note); NOTE/NAME for a fact; for a reading the fact that it tests.
        claim: the claim whose number a reading reads; a note or a fact is written with that reading.
        number: a number that the claim's study returns.
        counts: the fact holds where the whole interval is at least, or at most, the bound.
        bound: fixed before the study is run.
        json: one JSON document on stdout.
    """
    if kind == "question" and (claim or number or not math.isnan(bound)):
        raise UsageError(
            "a question has no claim, number and bound of its own", fix="keyturn atlas new reading FACT"
        )
    atlas, folder = load_atlas(home()), home() / "atlas"
    if kind == "question":
        path, text = new_question(atlas, folder, id)
    else:
        write = {"note": new_note, "fact": new_fact, "reading": new_reading}[kind]
        asked = Asked(claim=claim, number=number, counts=counts, bound=bound)
        path, text = write(atlas, load_known(home()), folder, id, asked)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(f"{path} is there already", fix="fill it in, or another id") from None
    if json:
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "atlas new", "file": str(path)}) + "\n")
        return
    sys.stdout.write(f"{path}\nfill it in, then: keyturn atlas lint\n")
