"""List the notes of the atlas with the states of their facts."""

from __future__ import annotations

import json as jsonlib
import sys

from keyturn.atlas.collection import load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.states import MARKS, STATES, all_states
from keyturn.atlas.store import home
from keyturn.cli.listing import listing
from keyturn.core.rundir import SCHEMA


def run(topic: str = "", json: bool = False) -> None:
    """List the notes under their main topic; each fact is a mark.

    Args:
        topic: only notes with a topic that holds these words.
        json: one JSON document on stdout instead of text.
    """
    atlas = load_atlas(home())
    states = all_states(atlas, load_known(home()))
    notes = [
        one
        for one in atlas.notes.values()
        if any(topic.lower() in name.lower() for name in one.topics or ("",))
    ]
    facts = {one.id: states.of(fact.id for fact in one.facts) for one in notes}
    if json:
        rows = [
            {
                "id": one.id,
                "question": one.question,
                "topics": list(one.topics),
                "facts": {state.fact.id: state.state for state in facts[one.id]},
            }
            for one in notes
        ]
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, "command": "note ls", "notes": rows}) + "\n")
        return
    if not notes:
        sys.stdout.write("no note has such a topic; keyturn note ls lists all\n")
        return
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for one in notes:
        marks = "".join(MARKS[state.state] for state in facts[one.id])
        groups.setdefault(one.topics[0] if one.topics else "no topic", []).append((one.id, marks, one.question))
    legend = ", ".join(f"{MARKS[state]} {state}" for state in STATES)
    listing(groups, footer=f"{legend}\nkeyturn note show ID: facts, relations, questions")
