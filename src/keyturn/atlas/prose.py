"""The prose of a note: ``[[note-id]]`` names a note, ``{number}`` a quantity or a reading.

``{gain}`` is a quantity of the note whose id is unique there, ``{one-example/1.gain}`` one of a named fact, and
``{FACT:CLAIM:number}`` a reading, which shows what the records say today. Prose drifts as it is retold; numbers
that are looked up do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from keyturn.atlas.answers.phrases import shown
from keyturn.atlas.collection.objects import Note, Quantity
from keyturn.atlas.states import States

REFERENCE = re.compile(r"\[\[([^\[\]\n]+)\]\]|\{([^{}\n]+)\}")

UNSOUND = "(no sound number yet)"
"""Stands for a reading without a sound record."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of prose.

    Args:
        kind: ``text`` (Markdown), ``note``, ``number``, or ``unknown`` for a reference that leads nowhere.
        text: what to show: Markdown, the id of a note, a number in words, or the reference as it was written.
        of: id of the note, of the fact whose quantity it is, or of the reading; empty for text.
    """

    kind: Literal["text", "note", "number", "unknown"]
    text: str
    of: str = ""


def pieces(note: Note, notes: Mapping[str, Note], states: States | None = None) -> tuple[Piece, ...]:
    """The prose of a note in pieces.

    Args:
        note: whose prose.
        notes: all notes, by id.
        states: for readings; without them a reading shows as unknown.
    """
    numbers = quantities_of(note)
    found, at = [], 0
    for match in REFERENCE.finditer(note.body):
        if match.start() > at:
            found.append(Piece(kind="text", text=note.body[at : match.start()]))
        at = match.end()
        found.append(_piece(match, numbers, notes, states))
    if at < len(note.body):
        found.append(Piece(kind="text", text=note.body[at:]))
    return tuple(found)


def plain(note: Note, notes: Mapping[str, Note], states: States) -> str:
    """The prose as plain text: notes by their questions, numbers looked up."""
    said = {
        "note": lambda one: f"“{notes[one.of].question}”",
        "unknown": lambda one: f"({one.text}: not in the collection)",
    }
    return "".join(said.get(one.kind, lambda x: x.text)(one) for one in pieces(note, notes, states))


def quantities_of(note: Note) -> dict[str, tuple[str, Quantity]]:
    """Every way to name a quantity of a note -> (its fact, the quantity); ids met twice need their fact."""
    found: dict[str, tuple[str, Quantity]] = {}
    twice: set[str] = set()
    for fact in note.facts:
        for one in fact.quantities:
            twice |= {one.id} & found.keys()
            found[one.id] = found[f"{fact.id}.{one.id}"] = (fact.id, one)
    return {name: one for name, one in found.items() if name not in twice}


def _piece(
    match: re.Match[str],
    numbers: Mapping[str, tuple[str, Quantity]],
    notes: Mapping[str, Note],
    states: States | None,
) -> Piece:
    note, number = match[1], match[2]
    if note and note in notes:
        return Piece(kind="note", text=note, of=note)
    if number in numbers:
        fact, quantity = numbers[number]
        return Piece(kind="number", text=str(quantity), of=fact)
    if states and number in states.readings:
        state = states.readings[number]
        said = shown(state.number, state.reading.bound) if state.sound else UNSOUND
        return Piece(kind="number", text=said, of=number)
    return Piece(kind="unknown", text=note or number)
