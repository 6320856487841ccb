"""Ask in your own words: the nearest question of the atlas is answered, or the nearest notes are shown."""

from __future__ import annotations

import json as jsonlib
import sys
from typing import Annotated

import tyro

from keyturn.atlas.answers import answer
from keyturn.atlas.collection import Atlas, load_atlas
from keyturn.atlas.drafting import draft as drafted
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.search import NEAR, Hit, note_index, question_index
from keyturn.atlas.states import MARKS, all_states
from keyturn.atlas.store import home
from keyturn.cli.answer_text import answer_text, draft_text, wrapped
from keyturn.core.errors import UsageError
from keyturn.core.progress import waiting
from keyturn.core.rundir import SCHEMA
from keyturn.core.text import one_line, visible
from keyturn.roles.encoders import mean_pooled_encoder


def run(
    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")],
    encoder: str = "",
    draft: Annotated[str, tyro.conf.arg(metavar="URL#MODEL")] = "",
    json: bool = False,
) -> None:
    """Ask the atlas.

    Args:
        text: the question, in quotes, or the id of one.
        encoder: folder or Hub id of a sentence encoder; its ranking is joined to that of characters.
        draft: a server whose model gets the computed answer and writes it again; each sentence is checked.
        json: one JSON document on stdout instead of text.
    """
    if not text.strip():
        raise UsageError("nothing was asked", fix='keyturn ask "Is one example enough?"')
    atlas, known = load_atlas(home()), load_known(home())
    if text.strip() in atlas.questions:
        text = atlas.questions[text.strip()].question
    encode = mean_pooled_encoder(encoder) if encoder else None
    questions = question_index(atlas, encode).search(text, most=4)
    notes = note_index(atlas, encode).search(text, most=3)
    same = bool(questions) and questions[0].cosine >= NEAR
    if draft and not same:
        raise UsageError(
            "no question of the atlas is the same, so there is no answer to draft", fix="leave --draft out"
        )
    if json:
        document = _document(text, atlas, known, questions, notes)
        if draft:
            document["draft"] = drafted(answer(atlas.questions[questions[0].id], atlas, known), draft).to_json()
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    if not questions and not notes:
        sys.stdout.write("Nothing in the atlas is near that. keyturn question ls lists what is asked.\n")
        return
    if same:
        sys.stdout.write(_read_as(text, atlas.questions[questions[0].id].question, questions[0].cosine))
        found = answer(atlas.questions[questions[0].id], atlas, known)
        sys.stdout.write(answer_text(found, atlas))
        _others(atlas, questions[1:])
        if draft:
            sys.stdout.flush()
            with waiting("waiting for a draft"):
                made = drafted(found, draft)
            sys.stdout.write("\n" + draft_text(made))
        return
    _nearest(text, atlas, known, questions, notes)


def _read_as(text: str, question: str, cosine: float) -> str:
    """Which question is answered, where it was not asked word for word."""
    asked, meant = ("".join(filter(str.isalnum, one.casefold())) for one in (text, question))
    if asked == meant:
        return ""
    read = f"Read as “{question}” (cosine {cosine:.2f}, at least {NEAR:g}); it may not be what you asked."
    return visible("\n".join(wrapped(read)), max_line=0) + "\n\n"


def _nearest(text: str, atlas: Atlas, known: Known, questions: tuple[Hit, ...], notes: tuple[Hit, ...]) -> None:
    """What is found where no question is the same."""
    states = all_states(atlas, known)
    lines = wrapped(f"No question of the atlas is the same as “{one_line(text)}”. The nearest, not the same:")
    for hit in questions[:3]:
        first = answer(atlas.questions[hit.id], atlas, known, states=states).sentence.text
        lines += ["", *wrapped(atlas.questions[hit.id].question, "  "), *wrapped(first, "    ")]
        lines += [f"    keyturn question show {hit.id}"]
    lines += ["", "facts of the nearest notes"]
    for hit in notes:
        lines += ["", f"  {atlas.notes[hit.id].question}"]
        for state in states.of(fact.id for fact in atlas.notes[hit.id].facts[:3]):
            lines += wrapped(f"{MARKS[state.state]} {state.state}: {state.fact.says}", "    ")
        lines += [f"    keyturn note show {hit.id}"]
    sys.stdout.write(visible("\n".join(lines), max_line=0) + "\n")


def _others(atlas: Atlas, hits: tuple[Hit, ...]) -> None:
    lines = [f"  {hit.id}: {atlas.questions[hit.id].question}" for hit in hits]
    if lines:
        sys.stdout.write("\n".join(("\nor did you mean", *lines)) + "\n")


def _document(
    text: str, atlas: Atlas, known: Known, questions: tuple[Hit, ...], notes: tuple[Hit, ...]
) -> dict[str, object]:
    same = bool(questions) and questions[0].cosine >= NEAR
    found = answer(atlas.questions[questions[0].id], atlas, known) if questions else None
    return {
        "schema": SCHEMA,
        "command": "ask",
        "asked": text,
        "same": same,
        "questions": [
            {"id": hit.id, "cosine": hit.cosine, "question": atlas.questions[hit.id].question}
            for hit in questions
        ],
        "notes": [
            {"id": hit.id, "cosine": hit.cosine, "question": atlas.notes[hit.id].question} for hit in notes
        ],
        "answer": found.to_json() if found else None,
    }
