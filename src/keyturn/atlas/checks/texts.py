"""Texts: numbers are bound to what reports or measures them, and no text acts on a page or a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.fields import Problem
from keyturn.atlas.collection.objects import Fact, Note, Place
from keyturn.atlas.known import Known
from keyturn.atlas.prose import REFERENCE, quantities_of
from keyturn.core.text import visible

_NUMBER = re.compile(r"(?<![\w.@−-])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\w]*[a-zA-Z]*-)")
"""A number that stands alone: not that of a name such as MATH-500, pass@8 or GPT-4."""
BLANK = "..."
"""Stands where a text is to be written."""
_TAG = re.compile(r"<\s*[a-zA-Z/!?]")
_SCHEME = re.compile(r"\b(?:javascript|vbscript|data|file)\s*:", re.IGNORECASE)
_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")


def numbers_in_prose(atlas: Atlas, known: Known) -> list[Problem]:
    """A number in prose is that of a quantity or a reading; the body refers to it and does not write it out."""
    found: list[Problem] = []
    for note in atlas.notes.values():
        found += _body(note, atlas)
        own = _values(note.facts)
        found += _unbound(note.statement, own, note.place, "the statement")
        for fact in note.facts:
            theirs = own | _values(atlas.facts[one] for one in fact.same_as if one in atlas.facts)
            found += _unbound(fact.says, theirs, fact.place, f"the fact {fact.id}")
            found += _unbound(fact.caution, theirs, fact.place, f"the caution of {fact.id}")
            for one in fact.readings:
                bound = {f"{abs(one.bound):g}"}
                for text in (one.says, one.otherwise):
                    fractions = [n for n in _numbers(text) if "." in n]
                    found += [_loose(one.place, "a reading's sentence", n) for n in fractions if n not in bound]
    return found


def _body(note: Note, atlas: Atlas) -> list[Problem]:
    """References that lead nowhere, and numbers that are written out."""
    found = []
    known = quantities_of(note)
    for match in REFERENCE.finditer(note.body):
        place = _at(note, match.start())
        if match[1] and match[1] not in atlas.notes:
            what = f"the prose names the note {match[1]!r}, which is not there"
            found.append(Problem(place=place, what=what, fix="the id of a note, as keyturn note ls lists it"))
        if match[2] and match[2] not in known and match[2] not in atlas.readings:
            names = ", ".join(f"{{{name}}}" for name in sorted(known) if "/" not in name) or "none"
            what = f"the prose names the number {match[2]!r}, which no quantity or reading of the note has"
            found.append(Problem(place=place, what=what, fix=f"quantities here: {names}"))
    blank = REFERENCE.sub(lambda match: " " * len(match[0]), note.body)
    found += [_loose(_at(note, where), "the prose", number) for where, number in _placed(blank)]
    return found


def _at(note: Note, offset: int) -> Place:
    """The line of a place in the prose."""
    return replace(note.place, line=note.body_line + note.body.count("\n", 0, offset))


def _loose(place: Place, where: str, number: str) -> Problem:
    fix = "give the fact a quantity of that value and write {its-id}; in a reading's sentence, its bound"
    return Problem(
        place=place, what=f"the number {number} in {where} is bound to no quantity and no reading", fix=fix
    )


def _unbound(text: str, values: set[str], place: Place, where: str) -> list[Problem]:
    return [_loose(place, where, number) for number in _numbers(text) if number not in values]


def _numbers(text: str) -> Iterator[str]:
    """The numbers of a text, as ``%g`` writes them."""
    return (number for _, number in _placed(text))


def _placed(text: str) -> Iterator[tuple[int, str]]:
    """The same with where they begin."""
    for match in _NUMBER.finditer(text):
        yield match.start(), f"{float(match[0].replace(',', '')):g}"


def _values(facts: Iterable[Fact]) -> set[str]:
    """What the numbers of some facts may be: reported values and bounds."""
    found = set()
    for fact in facts:
        found |= {f"{value:g}" for one in fact.quantities for value in one.values}
        found |= {f"{abs(one.bound):g}" for one in fact.readings}
    return found


def what_acts(atlas: Atlas, known: Known) -> list[Problem]:
    """Nothing left blank, no HTML, no address that runs something, no control or bidirectional character."""
    found: list[Problem] = []
    for place, text in _texts(atlas):
        if visible(text, max_line=0) != text:
            what = "a control, bidirectional or invisible character in a text"
            found.append(Problem(place=place, what=what, fix="plain characters only"))
        if BLANK in text.split("\n"):
            found.append(
                Problem(place=place, what="a text is not filled in yet", fix="write it in place of ...")
            )
        if _TAG.search(text):
            found.append(Problem(place=place, what="HTML in a text", fix="Markdown, or &lt; for a sign"))
        bad = _SCHEME.search(text)
        if bad:
            found.append(
                Problem(place=place, what=f"an address that runs something ({bad[0]})", fix="https:// only")
            )
        for address in _LINK.findall(text):
            if not address.startswith("https://") and not _SCHEME.search(address):
                fix = "https://..., or [[note-id]] for a note"
                found.append(Problem(place=place, what=f"a link to {address!r}", fix=fix))
    return found


def _texts(atlas: Atlas) -> Iterator[tuple[Place, str]]:
    """Every text that is shown, with its place."""
    for note in atlas.notes.values():
        words = (note.id, note.question, note.statement, *note.topics, *note.papers)
        yield note.place, "\n".join(words)
        for at, line in enumerate(note.body.split("\n")):
            yield replace(note.place, line=note.body_line + at), line
        for fact in note.facts:
            yield fact.place, "\n".join((fact.id, fact.says, fact.caution))
            for quantity in fact.quantities:
                yield (
                    quantity.place,
                    "\n".join((quantity.what, quantity.unit, quantity.locator, quantity.version)),
                )
            for one in fact.readings:
                yield one.place, "\n".join((one.where, one.says, one.otherwise))
    for relation in atlas.relations:
        yield relation.place, relation.why
    for one in atlas.questions.values():
        roles = (role.says for role in one.roles)
        words = (one.question, *one.variants, one.read_as, one.missing, one.if_yes, one.if_no, one.topic)
        yield one.place, "\n".join((one.id, *words, *one.conflicts, *roles))
    for one in atlas.experiments.values():
        yield one.place, "\n".join((one.id, one.says, one.exists, one.lacks, one.kind))
    for one in atlas.papers.values():
        yield one.place, "\n".join((one.id, one.title, one.authors, one.url, one.note))
