"""The site as a whole: built into a folder, or kept in memory for the small server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from keyturn.core.progress import progress
from keyturn.report.svg import Point
from keyturn.site.affected import affected, marks_of
from keyturn.site.build import Built, marks_before, write_site, written_before
from keyturn.site.files import files, known_places
from keyturn.site.source import Source, load_source
from keyturn.site.views.notes import places_of

LOOK_EVERY = 1.0
"""Seconds between two looks at what the server's pages are made of."""


def build(home: Path, out: Path) -> Built:
    """Build the site of a home.

    Args:
        home: ``$KEYTURN_HOME``: its records and notes are added to the shipped ones.
        out: the folder; see :func:`keyturn.site.build.write_site`.

    Raises:
        InputError: a note or a record cannot be read.
        UsageError: the folder holds something else.
        StorageError: something cannot be written.
    """
    source = load_source(home)
    places = places_of(source, known_places(out))
    marks = marks_of(source, places)
    return write_site(_counted(_limited(source, out, marks), places), out, marks=marks)


def _limited(source: Source, out: Path, marks: Mapping[str, str]) -> Source:
    """The source without pages that an earlier build of the same collection left as they would be now."""
    there = written_before(out)
    changed = affected(source, marks_before(out), marks) if there else None
    if changed is None:
        return source
    return source.limited(lambda path: path in changed or path not in there or not (out / path).is_file())


def _counted(source: Source, places: Mapping[str, Point]) -> Iterator[tuple[str, bytes | None]]:
    pages = (
        len(source.atlas.notes) + len(source.atlas.questions) + len(source.claims) + len(source.atlas.papers)
    )
    with progress("pages", pages) as advance:
        for done, file in enumerate(files(source, places)):
            yield file
            if done < pages:
                advance(1)


class Live:
    """The site of a home in memory, made again when its notes or records change.

    Args:
        home: ``$KEYTURN_HOME``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.Lock()
        self._looked = 0.0
        self._stamp = self._now()
        self._marks: Mapping[str, str] = {}
        self._files: Mapping[str, bytes] = {}
        self._files = self._made()

    def __call__(self) -> Mapping[str, bytes]:
        """Path -> content, as of now."""
        with self._lock:
            if time.monotonic() - self._looked > LOOK_EVERY:
                stamp = self._now()
                if stamp != self._stamp:
                    self._files = self._made()
                    self._stamp = stamp
                self._looked = time.monotonic()
            return self._files

    def _made(self) -> Mapping[str, bytes]:
        source, old = load_source(self.home), self._files
        places = places_of(source, known_places(self.home))
        marks = marks_of(source, places)
        changed = affected(source, self._marks, marks) if old else None
        if changed is not None:
            source = source.limited(lambda path: path in changed or path not in old)
        self._marks = marks
        return {name: old[name] if content is None else content for name, content in files(source, places)}

    def _now(self) -> frozenset[tuple[str, int, int]]:
        """Name, size and time of every file of records and notes."""
        found = set()
        for room in ("evidence", "atlas"):
            for path in (self.home / room).rglob("*"):
                if path.is_file():
                    known = path.stat()
                    found.add((str(path), known.st_size, known.st_mtime_ns))
        return frozenset(found)
