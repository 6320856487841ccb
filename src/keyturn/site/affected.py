"""Which pages a change of records can change, so that a build makes these and leaves the others.

A build keeps in its folder what its pages were made of: a mark of the collection, the places of the map and the
package, and one of each claim's records. Where only marks of claims differ, a page can differ only if it cites
one of these claims: by a fact that reads it, a note beside that fact's note, a question that rests on either, a
paper of either, a method, a record. Pages about the whole are made each time, and every page is made where the
first mark differs. That nothing is missed is tested by comparing with whole builds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import keyturn
from keyturn.atlas.evidence import Evidence
from keyturn.atlas.imported import seen_path
from keyturn.atlas.store import behind_path
from keyturn.core.identity import identity
from keyturn.report.svg import Point
from keyturn.site import paths
from keyturn.site.source import Source

_ALL = ""
"""Key of the mark of everything that is no record."""


def marks_of(source: Source, places: Mapping[str, Point]) -> dict[str, str]:
    """Claim -> mark of its records; under "" the mark of all the rest that pages are made of."""
    atlas = source.atlas
    rest = (
        _package(),
        [repr(kind) for kind in (atlas.notes, atlas.questions, atlas.experiments, atlas.papers)],
        repr(atlas.relations),
        sorted((name, x, y) for name, (x, y) in places.items()),
        sorted(source.claims),
    )
    marks = {_ALL: _hash(repr(rest))}
    for name in source.claims:
        records = [_record(source, one) for one in source.of(name)]
        marks[name] = _hash(repr((records, [repr(one) for one in source.reported(name)])))
    return marks


def _record(source: Source, one: Evidence) -> tuple[object, ...]:
    parts = one.parts or (one,)
    behind = [_file(behind_path(part, source.home)) for part in parts] if source.home else []
    seen = [_file(seen_path(part, source.home)) for part in parts] if source.home else []
    digests = [part.digest for part in parts]
    return one.id, digests, source.made_by(one), source.counts(one), behind, seen


def _file(path: Path) -> tuple[int, int]:
    known = path.stat() if path.exists() else None
    return (known.st_size, known.st_mtime_ns) if known else (0, 0)


def _package() -> str:
    """A mark of the package: name, size and time of every file that pages are made by or of."""
    root = Path(keyturn.__file__).parent
    found = [
        (path.relative_to(root).as_posix(), *_file(path))
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    return identity({"version": keyturn.__version__, "files": repr(found)})


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def affected(source: Source, before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str] | None:
    """Pages that may differ from those of an earlier build, beside the pages about the whole; None: all.

    Args:
        source: of now.
        before, now: what :func:`marks_of` said.
    """
    if before.get(_ALL) != now[_ALL] or before.keys() != now.keys():
        return None
    changed = [name for name in source.claims if before[name] != now[name]]
    return frozenset().union(*(_citing(source, name) for name in changed))


def _citing(source: Source, claim: str) -> frozenset[str]:
    """Pages that cite a claim's records."""
    atlas = source.atlas
    facts = {
        fact.id
        for fact in atlas.facts.values()
        for told in atlas.told_by(fact.id)
        if any(one.claim == claim for one in atlas.facts[told].readings)
    }
    notes = {fact.partition("/")[0] for fact in facts} | {atlas.facts[fact].note for fact in facts}
    notes |= {one.source for one in atlas.relations if one.decides == claim}
    notes |= {one.target for one in atlas.relations if one.decides == claim}
    near = notes | {one.source for one in atlas.relations if one.target in notes}
    near |= {one.target for one in atlas.relations if one.source in notes}
    near |= {hit.id for note in notes for hit in source.related.get(note, ())}
    near |= {note for note, hits in source.related.items() if notes & {hit.id for hit in hits}}
    asked = {
        one.id
        for one in atlas.questions.values()
        if claim in one.claims or set(one.notes) & near or facts & {f for role in one.roles for f in role.facts}
    }
    asked |= {name for name, found in source.answers.items() if set(found.further) & asked}
    near |= {note for name in asked for note in atlas.questions[name].notes}
    topics = {topic for note in near if note in atlas.notes for topic in atlas.notes[note].topics}
    return frozenset(
        (
            *(paths.note(name) for name in near),
            *(paths.question(name) for name in asked),
            *(paths.topic(name) for name in topics),
            *(paths.paper(name) for name in _papers(source, claim, facts, near)),
            *(paths.claim(name) for name in (claim, *_beside(source, claim))),
            *(paths.record(one.id) for one in source.of(claim)),
            *(paths.method(name) for name in source.claims[claim].methods),
        )
    )


def _papers(source: Source, claim: str, facts: Iterable[str], near: Iterable[str]) -> set[str]:
    atlas = source.atlas
    found = {one.id for one in atlas.papers.values() if one.id in source.claims[claim].source}
    found |= {one.paper for fact in facts for one in atlas.facts[fact].quantities}
    return found | {name for note in near if note in atlas.notes for name in atlas.notes[note].papers}


def _beside(source: Source, claim: str) -> set[str]:
    """Claims that share a fact with a claim, or are related to it."""
    facts = {one.fact for one in source.atlas.readings_of.get(claim, ())}
    found = {
        one.claim for fact in facts if fact in source.atlas.facts for one in source.atlas.facts[fact].readings
    }
    found |= set(source.claims[claim].relations)
    found |= {name for name, other in source.claims.items() if claim in other.relations}
    return found & set(source.claims)
