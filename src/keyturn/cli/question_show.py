"""The computed answer to a question of the atlas."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro

from keyturn.atlas.answers import answer
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.store import home
from keyturn.cli.answer_text import answer_text
from keyturn.core.rundir import SCHEMA


def run(
    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")], json: bool = False
) -> None:
    """Answer a question of the atlas from the records.

    Args:
        question: its id, as `keyturn question ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    atlas = load_atlas(home())
    found = answer(atlas.question_named(question), atlas, load_known(home()))
    if json:
        document = {"schema": SCHEMA, "command": "question show", "answer": found.to_json()}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(answer_text(found, atlas))
