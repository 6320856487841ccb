"""List the questions of the atlas with what their answers begin with."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.atlas.answers import answer
from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.states import all_states
from keyturn.atlas.store import home
from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA


def run(topic: str = "", json: bool = False) -> None:
    """List the questions, a line each; `keyturn question show ID` answers one.

    Args:
        topic: only questions whose topic holds these words.
        json: one JSON document on stdout instead of text.
    """
    atlas, known = load_atlas(home()), load_known(home())
    states = all_states(atlas, known)
    asked = [one for one in atlas.questions.values() if topic.lower() in one.topic.lower()]
    found = {one.id: answer(one, atlas, known, states=states) for one in asked}
    if json:
        rows = [
            {
                "id": one.id,
                "question": one.question,
                "variants": list(one.variants),
                "topic": one.topic,
                "answerable": one.answerable,
                "leaning": found[one.id].leaning,
                "sentence": found[one.id].sentence.text,
            }
            for one in asked
        ]
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "question ls", "questions": rows}) + "\n")
        return
    if not asked:
        sys.stdout.write("no question has such a topic; keyturn question ls lists all\n")
        return
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for one in asked:
        groups.setdefault(one.topic, []).append((one.id, found[one.id].leaning, one.question))
    listing(groups, footer='keyturn question show ID answers one; keyturn ask "..." finds the nearest')
