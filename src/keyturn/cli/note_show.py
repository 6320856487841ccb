"""One note of the atlas: its facts and their states, its relations, and the answer to its question."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro

from keyturn.atlas.answers import answer, question_of_note
from keyturn.atlas.answers.measured import told
from keyturn.atlas.answers.phrases import sentence
from keyturn.atlas.collection import Atlas, Note, load_atlas
from keyturn.atlas.known import load_known
from keyturn.atlas.prose import plain
from keyturn.atlas.readings import ReadingState
from keyturn.atlas.relation_types import INVERSE
from keyturn.atlas.states import MARKS, FactState, States, all_states
from keyturn.atlas.store import home
from keyturn.cli.answer_text import wrapped
from keyturn.core.rundir import SCHEMA
from keyturn.core.text import visible

MOST_ASKING = 8
"""Questions that are listed."""


def run(note: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NOTE")], json: bool = False) -> None:
    """Show one note.

    Args:
        note: its id, as `keyturn note ls` prints it.
        json: one JSON document on stdout instead of text.
    """
    atlas, known = load_atlas(home()), load_known(home())
    states = all_states(atlas, known)
    found = atlas.note_named(note)
    own = answer(question_of_note(atlas, found), atlas, known, states=states)
    if json:
        sys.stdout.write(jsonlib.dumps(_document(found, atlas, states) | {"answer": own.to_json()}) + "\n")
        return
    lines = [
        found.question,
        "",
        *wrapped(found.statement),
        "",
        *wrapped(own.sentence.text),
        *(["", *wrapped(" ".join(plain(found, atlas.notes, states).split()))] if found.body else []),
        "",
        "facts",
        *(line for state in states.of(fact.id for fact in found.facts) for line in _fact(state)),
        *_relations(found, atlas),
        *_asked_by(found, atlas),
    ]
    sys.stdout.write(visible("\n".join(lines).rstrip(), max_line=0) + "\n")


def _fact(state: FactState) -> list[str]:
    lead = " (a lead)" if state.lead else ""
    told = "" if state.told_by == (state.fact.id,) else f", told by {', '.join(state.told_by)}"
    first, *rest = wrapped(f"{MARKS[state.state]} {state.state}{lead}{told}: {state.fact.says}", "    ")
    numbers = [f"      {one.what}: {one}" for one in state.fact.quantities]
    caution = wrapped(f"Caution: {state.fact.caution}", "      ") if state.fact.caution else []
    readings = [line for one in state.readings for line in wrapped(_reading(one), "      ")]
    return ["  - " + first[4:], *rest, *readings, *numbers, *caution]


def _reading(one: ReadingState) -> str:
    """One reading: what it shows, or why it shows nothing."""
    if one.sound:
        return sentence(told(one))
    concerns = (
        "" if one.outcome != "not applicable" else "; gates: [...] in a reading names those that concern it"
    )
    return f"Nothing sound from {one.reading.claim}: {one.why}{concerns}."


def _asked_by(note: Note, atlas: Atlas) -> list[str]:
    asking = atlas.questions_of.get(note.id, ())
    if not asking:
        return []
    more = [f"  and {len(asking) - MOST_ASKING} more"] if len(asking) > MOST_ASKING else []
    shown = [f"  {one}: {atlas.questions[one].question}" for one in asking[:MOST_ASKING]]
    return ["", "asked by", *shown, *more, "", f"keyturn question show {asking[0]}"]


def _relations(note: Note, atlas: Atlas) -> list[str]:
    leaving = [(one.polarity, one.type, one.target, one.why) for one in atlas.leaving.get(note.id, ())]
    arriving = [
        (one.polarity, INVERSE[one.type], one.source, one.why) for one in atlas.arriving.get(note.id, ())
    ]
    lines = []
    for polarity in ("for", "against", "limits", "structure"):
        here = [one for one in (*leaving, *arriving) if one[0] == polarity]
        if here:
            lines += ["", polarity, *(f"  {kind} {other}: {why}" for _, kind, other, why in here)]
    return lines


def _document(note: Note, atlas: Atlas, states: States) -> dict[str, object]:
    relations = (*atlas.leaving.get(note.id, ()), *atlas.arriving.get(note.id, ()))
    return {
        "schema": SCHEMA,
        "command": "note show",
        "note": {
            "id": note.id,
            "question": note.question,
            "statement": note.statement,
            "kind": note.kind,
            "topics": list(note.topics),
            "papers": list(note.papers),
            "body": note.body,
            "file": note.place.file,
            "facts": [one.to_json() for one in states.of(fact.id for fact in note.facts)],
            "relations": [
                {
                    "from": one.source,
                    "type": one.type,
                    "to": one.target,
                    "polarity": one.polarity,
                    "why": one.why,
                    "decides": one.decides,
                }
                for one in relations
            ],
            "questions": list(atlas.questions_of.get(note.id, ())),
        },
    }
