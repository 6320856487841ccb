"""Ids: unique, in their form, and leading somewhere; relations without circles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.fields import Problem
from keyturn.atlas.collection.objects import Fact, Place, Reading, kebab
from keyturn.atlas.known import Known
from keyturn.atlas.relation_types import WHY_LENGTH
from keyturn.measures import MEASURES

_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
ACYCLIC = ("supersedes", "part-of")
"""Relations in which nothing may lead back to itself."""


def unknown(place: Place, kind: str, name: str, known: Iterable[str]) -> Problem:
    """A name that is in no dictionary."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    fix = f"did you mean {' or '.join(near)}?" if near else _some(names)
    return Problem(place=place, what=f"unknown {kind} {name!r}", fix=fix)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"known: {', '.join(names[:6])}{more}" if names else "there is none"


LONGEST_ID = 80
"""Characters of a note's id, which names its file and its page."""


def notes_by_case(atlas: Atlas, known: Known) -> list[Problem]:
    """Ids of notes are in kebab case, differ by more than case, and name their file."""
    found, seen = [], {}
    for note in atlas.notes.values():
        named = bool(_KEBAB.fullmatch(note.id))
        if not named:
            what = f"the id {note.id!r:.60} is no kebab case"
            found.append(Problem(place=note.place, what=what, fix=f"id: {kebab(note.id)[:LONGEST_ID]}"))
        if len(note.id) > LONGEST_ID:
            what = f"the id {note.id[:20]!r}... has {len(note.id)} characters"
            found.append(Problem(place=note.place, what=what, fix=f"at most {LONGEST_ID}"))
            continue
        other = seen.setdefault(note.id.casefold(), note)
        if other is not note:
            what = f"the ids {other.id!r} and {note.id!r} differ by case alone"
            found.append(Problem(place=note.place, what=what, fix=f"another id; {other.place} has the other"))
        stem = note.place.file.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".md")
        if named and stem.casefold() != note.id.casefold():
            what = f"the note {note.id!r} stands in a file of another name"
            found.append(Problem(place=note.place, what=what, fix=f"name the file {note.id}.md"))
        found += [
            unknown(note.place, "paper", one, atlas.papers) for one in note.papers if one not in atlas.papers
        ]
        if not note.topics:
            found.append(
                Problem(place=note.place, what="the note has no topic", fix="topics: [create or deploy]")
            )
    return found


def facts_and_readings(atlas: Atlas, known: Known) -> list[Problem]:
    """Facts belong to their note, are told once, and their readings pick numbers that there are."""
    found: list[Problem] = []
    seen: dict[str, Fact] = {}
    numbers = {claim: numbers_of(claim, known) for claim in CLAIMS}
    for note in atlas.notes.values():
        for fact in note.facts:
            if fact.id in seen:
                what = f"the fact {fact.id!r} is there already"
                found.append(
                    Problem(place=fact.place, what=what, fix=f"another id; {seen[fact.id].place} has it")
                )
            seen.setdefault(fact.id, fact)
            if not fact.id.startswith(f"{note.id}/") or len(fact.id) == len(note.id) + 1:
                what = f"the fact {fact.id!r} does not carry its note's id"
                found.append(
                    Problem(place=fact.place, what=what, fix=f"id: {note.id}/{fact.id.split('/')[-1] or 1}")
                )
            found += _fact(fact, atlas)
            found += _readings(fact.readings, numbers)
    return found


def _fact(fact: Fact, atlas: Atlas) -> list[Problem]:
    place = fact.place
    found = [unknown(place, "measure", one, MEASURES) for one in fact.measures if one not in MEASURES]
    if fact.settled_by and fact.settled_by not in atlas.experiments:
        found.append(unknown(place, "experiment", fact.settled_by, atlas.experiments))
    for one in fact.quantities:
        if one.paper and one.paper not in atlas.papers:
            found.append(unknown(one.place, "paper", one.paper, atlas.papers))
    ids = [one.id for one in fact.quantities]
    for one in fact.quantities:
        if ids.count(one.id) > 1:
            found.append(
                Problem(place=one.place, what=f"the quantity {one.id!r} is given twice", fix="another id")
            )
    for other in fact.same_as:
        if other == fact.id:
            found.append(Problem(place=place, what="a fact is the same as itself", fix="without same-as"))
        elif other not in atlas.facts:
            found.append(unknown(place, "fact", other, atlas.facts))
        elif atlas.facts[other].same_as:
            ends = atlas.told_by(other)
            fix = f"same-as: [{', '.join(ends)}]" if ends else "one of them has to tell it"
            found.append(Problem(place=place, what=f"{other!r} is told elsewhere itself", fix=fix))
    if fact.same_as and fact.readings:
        fix = f"move its readings to {fact.same_as[0]}, or leave same-as out"
        found.append(
            Problem(place=place, what="a fact that is told elsewhere has readings of its own", fix=fix)
        )
    return found


def numbers_of(claim: str, known: Known) -> set[str]:
    """Numbers that a study is known to return: of its records, else of its protocol."""
    made = {name for one in known.of(claim) for name in one.numbers}
    protocol = CLAIMS[claim]
    return made or {protocol.threshold.estimand, *(gate.name for gate in (*protocol.gates, *protocol.controls))}


def _readings(readings: Iterable[Reading], numbers: Mapping[str, set[str]]) -> list[Problem]:
    found, seen = [], set()
    for one in readings:
        if one.claim not in CLAIMS:
            found.append(unknown(one.place, "claim", one.claim, CLAIMS))
            continue
        if one.number not in numbers[one.claim]:
            found.append(unknown(one.place, f"number of {one.claim}", one.number, numbers[one.claim]))
        usual = CLAIMS[one.claim].default.base
        if usual and not one.base:
            what = f"the reading of {one.claim} names no base, so that a run on any model would speak for it"
            found.append(Problem(place=one.place, what=what, fix=f"base: {usual}"))
        gates = [gate.name for gate in CLAIMS[one.claim].gates]
        found += [
            unknown(one.place, f"gate of {one.claim}", gate, gates)
            for gate in one.gates or ()
            if gate not in gates
        ]
        if (one.id, one.counts) in seen:
            what = f"a second reading of {one.claim}, {one.number!r}, {one.counts}"
            found.append(Problem(place=one.place, what=what, fix="one bound for one number of a fact"))
        seen.add((one.id, one.counts))
    return found


def relations(atlas: Atlas, known: Known) -> list[Problem]:
    """Relations lead from note to note, are said once, and do not run in circles."""
    found: list[Problem] = []
    seen: set[str] = set()
    for one in atlas.relations:
        if one.target == one.source:
            found.append(
                Problem(place=one.place, what=f"{one.source!r} is related to itself", fix="to another note")
            )
        elif one.target not in atlas.notes:
            found.append(unknown(one.place, "note", one.target, atlas.notes))
        if len(one.why) > WHY_LENGTH:
            what = f"the reason has {len(one.why)} characters"
            found.append(Problem(place=one.place, what=what, fix=f"at most {WHY_LENGTH}"))
        if one.decides and one.decides not in CLAIMS and one.decides not in atlas.experiments:
            found.append(unknown(one.place, "claim or experiment", one.decides, {*CLAIMS, *atlas.experiments}))
        if one.id in seen:
            found.append(Problem(place=one.place, what=f"{one.id} is stated twice", fix="state it once"))
        seen.add(one.id)
    for kind in ACYCLIC:
        found += _circles(atlas, kind)
    return found


def _circles(atlas: Atlas, kind: str) -> list[Problem]:
    """Circles of one type of relation, each told once, at the relation that closes it."""
    edges = {
        note: [one for one in leaving if one.type == kind and one.target != note]
        for note, leaving in atlas.leaving.items()
    }
    done: set[str] = set()
    found = []
    for start in edges:
        path: list[str] = []
        stack = [(start, iter(edges[start]))] if start not in done else []
        while stack:
            note, rest = stack[-1]
            if len(path) < len(stack):
                path.append(note)
            following = next(rest, None)
            if following is None:
                done.add(note)
                stack.pop()
                path.pop()
            elif following.target in path:
                circle = [*path[path.index(following.target) :], following.target]
                what = f"{kind} runs in a circle: {' -> '.join(circle)}"
                found.append(Problem(place=following.place, what=what, fix="take one of these relations out"))
            elif following.target not in done:
                stack.append((following.target, iter(edges.get(following.target, ()))))
    return found


def questions(atlas: Atlas, known: Known) -> list[Problem]:
    """Questions cite what there is, and say what would be yes where they ask whether."""
    found: list[Problem] = []
    for one in atlas.questions.values():
        lists: tuple[tuple[str, Iterable[str], Mapping[str, object]], ...] = (
            ("note", one.notes, atlas.notes),
            ("fact", [fact for role in one.roles for fact in role.facts], atlas.facts),
            ("claim", one.claims, CLAIMS),
            ("experiment", one.experiments, atlas.experiments),
        )
        for kind, ids, there in lists:
            found += [unknown(one.place, kind, name, there) for name in ids if name not in there]
        if one.asks == "whether" and not any(role.role == "answer" for role in one.roles):
            what = f"{one.id} asks whether, and no role answers"
            found.append(Problem(place=one.place, what=what, fix="role: answer, with the facts that decide it"))
        if bool(one.if_yes) != bool(one.if_no):
            what = f"{one.id} has words for one answer only"
            found.append(Problem(place=one.place, what=what, fix="both if-yes and if-no, or neither"))
    return found
