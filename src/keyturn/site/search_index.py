"""The index of the search box: what can be found, as a script, since a page from disk may not fetch data."""

from __future__ import annotations

import json
from collections.abc import Iterator

from keyturn.core.text import visible
from keyturn.site import paths
from keyturn.site.source import Source


def search_index(source: Source) -> bytes:
    """Every document with its kind, title and the words that it is found by."""
    text = json.dumps(list(documents(source)), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"globalThis.keyturnSearch = {{ documents: {text} }};\n".encode()


def documents(source: Source) -> Iterator[dict[str, str]]:
    """What can be found; states are no part of it, so that a record changes no index."""
    atlas = source.atlas
    for note in atlas.notes.values():
        words = [note.statement, *note.topics, *(fact.says for fact in note.facts)]
        yield _document(paths.note(note.id), "note", note.question, words)
    for one in atlas.questions.values():
        yield _document(paths.question(one.id), "question", one.question, [*one.variants, one.topic])
    for claim in source.claims.values():
        yield _document(
            paths.claim(claim.id), "claim", claim.statement, [claim.question, claim.source, *claim.methods]
        )
    for paper in atlas.papers.values():
        yield _document(paths.paper(paper.id), "paper", paper.title, [paper.authors, str(paper.year), paper.id])
    for experiment in atlas.experiments.values():
        yield _document(paths.experiment(experiment.id), "to run", experiment.says, [experiment.kind])


def _document(url: str, kind: str, title: str, words: list[str]) -> dict[str, str]:
    return {"url": url, "kind": kind, "title": visible(title[:1].upper() + title[1:]), "text": " ".join(words)}
