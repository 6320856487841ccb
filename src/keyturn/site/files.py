"""All files of the site: pages, the style sheet, the scripts, the search index, the places of the map."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from keyturn.atlas.changes import snapshot
from keyturn.core.errors import InputError
from keyturn.core.rundir import SCHEMA, read_json
from keyturn.report.page import asset
from keyturn.report.svg import Point
from keyturn.site.page import UNCHANGED, Page, program, style
from keyturn.site.search_index import search_index
from keyturn.site.source import Source
from keyturn.site.views import claims, front, methods, notes, papers, questions, records

PLACES = "places.json"
"""Where the boxes of the map stand; what a build finds in its folder stays."""
MINISEARCH = "03c27931eb603af1d3358579e9885eafdb6a2f5fa9929557b3e77d7e99d06d03"
"""sha256 of the vendored search program (MiniSearch 7.2.0, MIT), as npm publishes it."""


def pages(source: Source, places: Mapping[str, Point]) -> Iterator[Page]:
    """Every page."""
    yield from front.pages(source, places)
    yield from notes.pages(source, places)
    yield from questions.pages(source)
    yield from claims.pages(source)
    yield from records.pages(source)
    yield from papers.pages(source)
    yield from methods.pages(source)


def files(source: Source, places: Mapping[str, Point]) -> Iterator[tuple[str, bytes | None]]:
    """Every file as (path, content); None for one that stays as an earlier build left it."""
    for page in pages(source, places):
        yield page.path, None if page.template == UNCHANGED else page.render()
    yield "style.css", style()
    yield "theme.js", asset("theme.js", "site").encode()
    yield "site.js", program()
    yield "minisearch.js", minisearch()
    yield "minisearch.LICENSE.txt", asset("minisearch.LICENSE.txt", "site").encode()
    yield "search.js", search_index(source)
    now = snapshot(source.atlas, source.known, source.states).to_json()
    yield "states.json", (json.dumps(now, sort_keys=True) + "\n").encode()
    document = {"schema": SCHEMA, "places": {name: list(at) for name, at in sorted(places.items())}}
    yield PLACES, (json.dumps(document, indent=0) + "\n").encode()


def minisearch() -> bytes:
    """The vendored search program.

    Raises:
        InputError: it is not the one that was vendored.
    """
    found = asset("minisearch.js", "site").encode()
    if hashlib.sha256(found).hexdigest() != MINISEARCH:
        raise InputError("minisearch.js is not the file that keyturn ships", fix="install keyturn again")
    return found


def known_places(out: Path) -> dict[str, Point]:
    """Where boxes stand: as shipped, and as an earlier build into a folder left them.

    Raises:
        InputError: the file of the folder is damaged.
    """
    found = _places(json.loads(asset("places.json", "site")), "places.json")
    if (out / PLACES).is_file():
        found |= _places(read_json(out / PLACES), str(out / PLACES))
    return found


def _places(document: Mapping[str, object], where: str) -> dict[str, Point]:
    places = document.get("places")
    try:
        assert isinstance(places, dict)
        return {str(name): (float(x), float(y)) for name, (x, y) in places.items()}
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(f"{where} holds no places", fix="delete it; the map is placed anew") from error
