"""The atlas: everything indexed by id, from the shipped files and the user's own.

The user's own stand in ``$KEYTURN_HOME/atlas`` (or ``runs/atlas``) in the same layout as the shipped ones:
``notes/*.md``, ``questions/*.yaml``, ``experiments.yaml``, ``papers.bib``. They add and never change: an id
that is taken stays with the shipped object, which is a problem that :func:`read_atlas` returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from keyturn.atlas.collection.fields import File, Problem
from keyturn.atlas.collection.front_matter import MAX_BYTES
from keyturn.atlas.collection.note_files import Addition, read_note
from keyturn.atlas.collection.objects import (
    Experiment,
    Fact,
    Note,
    Origin,
    Paper,
    Question,
    Reading,
    Relation,
)
from keyturn.atlas.collection.paper_files import read_papers
from keyturn.atlas.collection.question_files import read_experiments, read_questions
from keyturn.core.errors import InputError, unknown

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """The whole collection. Order is that of the files: shipped first, each folder by name.

    Args:
        notes, questions, experiments, papers: id -> object.
        relations: every relation, in the order of the notes that state them.
    """

    notes: Mapping[str, Note]
    questions: Mapping[str, Question]
    experiments: Mapping[str, Experiment]
    papers: Mapping[str, Paper]
    relations: tuple[Relation, ...]

    @cached_property
    def facts(self) -> Mapping[str, Fact]:
        """Id -> fact, of all notes."""
        return {fact.id: fact for note in self.notes.values() for fact in note.facts}

    @cached_property
    def readings(self) -> Mapping[str, Reading]:
        """Id -> reading, of all facts."""
        return {reading.id: reading for fact in self.facts.values() for reading in fact.readings}

    @cached_property
    def topics(self) -> Mapping[str, tuple[str, ...]]:
        """Topic of notes -> ids of its notes, main topic or not; in the order in which they are met."""
        found: dict[str, list[str]] = {}
        for note in self.notes.values():
            for topic in note.topics:
                found.setdefault(topic, []).append(note.id)
        return {topic: tuple(ids) for topic, ids in found.items()}

    @cached_property
    def leaving(self) -> Mapping[str, tuple[Relation, ...]]:
        """Note -> relations that it states."""
        return _grouped(self.relations, lambda one: one.source)

    @cached_property
    def arriving(self) -> Mapping[str, tuple[Relation, ...]]:
        """Note -> relations that others state to it."""
        return _grouped(self.relations, lambda one: one.target)

    @cached_property
    def questions_of(self) -> Mapping[str, tuple[str, ...]]:
        """Note -> ids of the questions that cite it."""
        pairs = [(note, one.id) for one in self.questions.values() for note in one.notes]
        return {
            note: tuple(one for _, one in found)
            for note, found in _grouped(pairs, lambda pair: pair[0]).items()
        }

    @cached_property
    def cited_by(self) -> Mapping[str, frozenset[str]]:
        """Question -> ids of the notes and claims that it cites."""
        return {name: frozenset((*one.notes, *one.claims)) for name, one in self.questions.items()}

    @cached_property
    def readings_of(self) -> Mapping[str, tuple[Reading, ...]]:
        """Claim -> readings that pick one of its numbers."""
        return _grouped(self.readings.values(), lambda one: one.claim)

    def told_by(self, fact: str) -> tuple[str, ...]:
        """Ids of the facts that hold the readings of a fact: itself, or those that it is the same as.

        Unknown ids and chains end where they end; a circle ends where it began.
        """
        found: list[str] = []
        seen: set[str] = set()
        waiting = [fact]
        while waiting:
            one = waiting.pop(0)
            if one in seen or one not in self.facts:
                continue
            seen.add(one)
            same = self.facts[one].same_as
            waiting += same
            if not same:
                found.append(one)
        return tuple(found)

    @cached_property
    def distinct_facts(self) -> tuple[Fact, ...]:
        """Facts that are not told elsewhere."""
        return tuple(fact for fact in self.facts.values() if not fact.same_as)

    def note_named(self, name: str) -> Note:
        """A note by id; an unknown one is answered with the near matches."""
        if name not in self.notes:
            raise unknown("note", name, self.notes)
        return self.notes[name]

    def question_named(self, name: str) -> Question:
        """A question by id; an unknown one is answered with the near matches."""
        if name not in self.questions:
            raise unknown("question", name, self.questions)
        return self.questions[name]


def load_atlas(home: Path | None = None) -> Atlas:
    """The shipped atlas and what a user's folder adds to it.

    Args:
        home: ``$KEYTURN_HOME``; None leaves the user's own out.

    Raises:
        InputError: a file cannot be read as what it must be; the message names file, line and fix.
    """
    atlas, problems = read_atlas(home)
    if problems:
        first, more = problems[0], len(problems) - 1
        rest = f" (and {more} more: keyturn atlas lint)" if more else ""
        raise InputError(f"{first.place}: {first.what}{rest}", fix=first.fix)
    return atlas


def read_atlas(home: Path | None = None) -> tuple[Atlas, tuple[Problem, ...]]:
    """The same, with every problem of reading, file by file; what is refused is left out."""
    shipped, problems = _shipped()
    if home is None or not (home / "atlas").is_dir():
        return shipped, problems
    builder = _Builder(shipped)
    builder.read_folder(home / "atlas", "mine")
    return builder.atlas(), (*problems, *builder.problems)


@functools.cache
def _shipped() -> tuple[Atlas, tuple[Problem, ...]]:
    builder = _Builder(None)
    with resources.as_file(resources.files("keyturn.assets") / "atlas") as folder:
        builder.read_folder(folder, "shipped")
    return builder.atlas(), tuple(builder.problems)


@functools.lru_cache(maxsize=20_000)
def _note_in(
    text: str, name: str, origin: Origin
) -> tuple[tuple[Note, tuple[Relation, ...]] | Addition | None, tuple[Problem, ...]]:
    """A file of a note, read once in a process however often the collection is."""
    file = File(name=name, origin=origin)
    found = read_note(text, file)
    return found, tuple(file.problems)


class _Builder:
    """What has been read so far."""

    def __init__(self, start: Atlas | None) -> None:
        self.notes = dict(start.notes) if start else {}
        self.questions = dict(start.questions) if start else {}
        self.experiments = dict(start.experiments) if start else {}
        self.papers = dict(start.papers) if start else {}
        self.relations = list(start.relations) if start else []
        self.problems: list[Problem] = []
        self.additions: list[tuple[Addition, File]] = []

    def atlas(self) -> Atlas:
        return Atlas(
            notes=self.notes,
            questions=self.questions,
            experiments=self.experiments,
            papers=self.papers,
            relations=tuple(self.relations),
        )

    def read_folder(self, folder: Path, origin: Origin) -> None:
        """Read every file of a folder; additions come last, when all notes are known."""
        for path in sorted((folder / "notes").glob("*.md")):
            self._read(path, folder, origin, self._note)
        for path in sorted((folder / "questions").glob("*.yaml")):
            self._read(path, folder, origin, functools.partial(self._kept, "question", read_questions))
        for name, kind, read in (
            ("experiments.yaml", "experiment", read_experiments),
            ("papers.bib", "paper", read_papers),
        ):
            if (folder / name).exists():
                self._read(folder / name, folder, origin, functools.partial(self._kept, kind, read))
        for addition, file in self.additions:
            self._add(addition, file)
        self.additions.clear()

    def _kept(self, kind: str, read: Callable[[str, File], Sequence[Any]], text: str, file: File) -> None:
        self._take(kind, file, read(text, file))

    def _read(self, path: Path, folder: Path, origin: Origin, take: Callable[[str, File], None]) -> None:
        name = f"atlas/{path.relative_to(folder).as_posix()}" if origin == "shipped" else str(path)
        file = File(name=name, origin=origin)
        try:
            if path.stat().st_size > MAX_BYTES:
                file.wrong(1, f"the file has more than {MAX_BYTES // 1024} kB", "split it")
            else:
                take(path.read_text(encoding="utf-8"), file)
        except UnicodeDecodeError:
            file.wrong(1, "the file is no UTF-8 text", "save it as UTF-8")
        except OSError as error:
            file.wrong(1, f"the file cannot be read ({error.strerror})", "make it readable, or remove it")
        self.problems += file.problems

    def _note(self, text: str, file: File) -> None:
        found, problems = _note_in(text, file.name, file.origin)
        file.problems += problems
        if found is None:
            return
        if isinstance(found, Addition):
            self.additions.append((found, file))
            return
        note, relations = found
        if self._take("note", file, [note]):
            self.relations += relations

    def _take(self, kind: str, file: File, found: Iterable[Any]) -> bool:
        """Keep what has an id of its own."""
        kept: dict[str, Any] = getattr(self, f"{kind}s")
        complete = True
        for one in found:
            if not one.id:
                complete = False
            elif one.id in kept:
                fix = f"another id; {kept[one.id].place} has it"
                file.wrong(one.place.line, f"the {kind} {one.id!r} is there already", fix)
                complete = False
            else:
                kept[one.id] = one
        return complete

    def _add(self, addition: Addition, file: File) -> None:
        """Add to a note of another file; ``file`` was read before, so its problems are taken here."""
        file.problems.clear()
        note = self.notes.get(addition.note)
        if note is None:
            near = unknown("note", addition.note, self.notes)
            file.wrong(addition.line, near.what, near.fix)
        else:
            taken = {fact.id for fact in note.facts}
            for fact in addition.facts:
                if fact.id in taken:
                    file.wrong(fact.place.line, f"the fact {fact.id!r} is there already", "another id")
            facts = (*note.facts, *(fact for fact in addition.facts if fact.id not in taken))
            self.notes[note.id] = replace(note, facts=facts)
            self.relations += addition.relations
        for reading in addition.readings:
            self._add_reading(reading, file)
        self.problems += file.problems

    def _add_reading(self, reading: Reading, file: File) -> None:
        note = next((n for n in self.notes.values() for f in n.facts if f.id == reading.fact), None)
        if note is None:
            names = [fact.id for one in self.notes.values() for fact in one.facts]
            near = unknown("fact", reading.fact, names)
            file.wrong(reading.place.line, near.what, near.fix)
            return
        facts = []
        for fact in note.facts:
            if fact.id == reading.fact:
                if any(one.id == reading.id and one.counts == reading.counts for one in fact.readings):
                    what = f"{reading.fact} has a reading of {reading.claim}, {reading.number!r}, already"
                    file.wrong(reading.place.line, what, "another number, or none: a bound is fixed once")
                else:
                    fact = replace(fact, readings=(*fact.readings, reading))
            facts.append(fact)
        self.notes[note.id] = replace(note, facts=tuple(facts))


def _grouped(found: Iterable[T], key: Callable[[T], str]) -> Mapping[str, tuple[T, ...]]:
    groups: dict[str, list[T]] = {}
    for one in found:
        groups.setdefault(key(one), []).append(one)
    return {name: tuple(group) for name, group in groups.items()}
