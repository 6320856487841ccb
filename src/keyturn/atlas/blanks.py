"""Files to fill in: a note, a fact, a reading, a question. What stands as ``...`` is not filled in yet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.checks.ids import numbers_of
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import kebab
from keyturn.atlas.known import Known
from keyturn.core.errors import UsageError, unknown

_NOTE = """\
---
id: {id}
question: "..."   # the title; it ends with a question mark
statement: "..."  # what the literature says to it, one sentence
kind: finding     # or synthesis (of several notes), or hub (gathers notes)
topics: ["..."]   # known: {topics}
papers: []        # ids of papers.bib; add your own to {folder}/papers.bib
facts:
  - id: {id}/1
    says: "..."   # one assertion; its numbers stand below as quantities
    quantities: []  # {{id: gain, what: gain on MATH-500, value: 37, unit: points, paper: "2504.20571"}}
{readings}relations: []     # {{type: extends, to: one-example, why: a reason of at most 160 characters}}
---
"""
_FACT = """\
---
adds-to: {note}
facts:
  - id: {id}
    says: "..."   # one assertion; its numbers stand below as quantities
    quantities: []  # {{id: gain, what: gain on MATH-500, value: 37, unit: points, paper: "2504.20571"}}
{readings}---
"""
_ADDED_READING = """\
---
adds-to: {note}
readings:
  - fact: {fact}
{reading}---
"""
_READING = """\
    claim: {claim}
{base}    number: "{number}"
    counts: "{counts}"
    bound: {bound:g}
    how: tests        # or bears: an indication that decides nothing
    where: "..."      # the scope, as it stands at the head of a sentence: in GRAPH
    says: "..."       # what the world shows where it holds, a clause: one example ends within .05 of the pool
    otherwise: "..."  # the same where it fails
"""
_BASE = "    base: {}       # its records are read, and those of other bases of its world\n"
_QUESTION = """\
topic: "..."
questions:
  - id: {id}
    question: "..."
    asks: open          # whether: the facts with role answer are worded so that yes and no can be said
    answerable: partly  # yes, partly, no (no claim measures it) or outside (nothing here could)
    missing: "..."      # what is not measured
    roles:
      - {{role: answer, says: "...", notes: [], facts: []}}
    claims: []
    experiments: []
"""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a reading is to read; empty for no reading.

    Args:
        claim, number: of which study which number.
        counts, bound: what it must be; not a number where no bound was given.
    """

    claim: str = ""
    number: str = ""
    counts: str = ">="
    bound: float = math.nan


def new_note(atlas: Atlas, known: Known, folder: Path, name: str, asked: Asked) -> tuple[Path, str]:
    """Path and text of a new note with one fact, and with a reading of it where one is asked for.

    Args:
        atlas: for ids that are taken and topics that are known.
        known: for the numbers of a study.
        folder: ``$KEYTURN_HOME/atlas``.
        name: its id.
        asked: the reading of its fact.
    """
    if name != kebab(name):
        raise UsageError(f"{name!r} is no id of a note", fix=f"kebab case: {kebab(name) or 'my-note'}")
    if name in atlas.notes:
        raise UsageError(f"the note {name!r} is there already", fix="another id, or keyturn atlas new fact")
    readings = _inside(known, asked)
    topics = ", ".join(atlas.topics)
    text = _NOTE.format(id=name, topics=topics, folder=folder, readings=readings)
    return folder / "notes" / f"{name}.md", text


def new_fact(atlas: Atlas, known: Known, folder: Path, name: str, asked: Asked) -> tuple[Path, str]:
    """Path and text of a file that adds a fact to a note; ``name`` is ``NOTE/NAME``."""
    note, _, own = name.partition("/")
    if note not in atlas.notes:
        raise unknown("note", note, atlas.notes)
    if not own or own != kebab(own):
        raise UsageError(f"{name!r} is no id of a fact", fix=f"{note}/{kebab(own) or 'my-fact'}")
    if name in atlas.facts:
        raise UsageError(f"the fact {name!r} is there already", fix="another name after the slash")
    text = _FACT.format(note=note, id=name, readings=_inside(known, asked))
    return folder / "notes" / f"{note}-{own}.md", text


def new_reading(atlas: Atlas, known: Known, folder: Path, fact: str, asked: Asked) -> tuple[Path, str]:
    """Path and text of a file that adds a reading to a fact.

    Raises:
        UsageError: the fact, the claim or the number is not there, or the fact is told elsewhere.
    """
    if fact not in atlas.facts:
        raise unknown("fact", fact, atlas.facts)
    ends = atlas.told_by(fact)
    if ends != (fact,):
        raise UsageError(
            f"{fact} is told elsewhere", fix=f"keyturn atlas new reading {ends[0]}" if ends else ""
        )
    note, reading = atlas.facts[fact].note, _reading(known, asked)
    text = _ADDED_READING.format(note=note, fact=fact, reading=reading)
    return folder / "notes" / f"{kebab(fact)}-{asked.claim}-{kebab(asked.number)}.md", text


def _reading(known: Known, asked: Asked) -> str:
    """The lines of a reading, in the list of an addition.

    Raises:
        UsageError: the claim or the number is not there, or there is no bound.
    """
    claim, number = asked.claim, asked.number
    if not claim:
        raise UsageError("a reading picks a number of a claim", fix=f"--claim, one of {', '.join(CLAIMS)}")
    numbers = numbers_of(claim_named(claim).id, known)
    if not number:
        raise UsageError(f"which number of {claim}?", fix=f"--number, one of {', '.join(sorted(numbers))}")
    if number not in numbers:
        raise unknown(f"number of {claim}", number, numbers)
    if math.isnan(asked.bound):
        raise UsageError("a reading fixes its bound before the run", fix="--bound 0.05")
    usual = CLAIMS[claim].default.base
    base = _BASE.format(usual) if usual else ""
    return _READING.format(claim=claim, base=base, number=number, counts=asked.counts, bound=asked.bound)


def _inside(known: Known, asked: Asked) -> str:
    """The lines of a reading that stands in its fact; nothing where none is asked for."""
    if not asked.claim and not asked.number and math.isnan(asked.bound):
        return ""
    first, *rest = _reading(known, asked).splitlines()
    lines = ["    readings:", f"      - {first.lstrip()}", *(f"    {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def new_question(atlas: Atlas, folder: Path, name: str) -> tuple[Path, str]:
    """Path and text of a file with one question."""
    if name != kebab(name):
        raise UsageError(f"{name!r} is no id of a question", fix=f"kebab case: {kebab(name) or 'my-question'}")
    if name in atlas.questions:
        raise UsageError(f"the question {name!r} is there already", fix="another id")
    return folder / "questions" / f"{name}.yaml", _QUESTION.format(id=name)
