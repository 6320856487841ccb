"""Papers as BibTeX: those that a note or a quantity cites, under their own ids."""

from __future__ import annotations

from bibtexparser.entrypoint import write_string
from bibtexparser.library import Library
from bibtexparser.model import Entry, Field

from keyturn.atlas.collection.atlas import Atlas
from keyturn.atlas.collection.objects import Paper


def cited(atlas: Atlas) -> tuple[Paper, ...]:
    """Papers that something cites, in the order of the collection."""
    ids = {one for note in atlas.notes.values() for one in note.papers}
    ids |= {one.paper for fact in atlas.facts.values() for one in fact.quantities}
    return tuple(paper for paper in atlas.papers.values() if paper.id in ids)


def bibtex(atlas: Atlas) -> str:
    """Every cited paper, an entry each."""
    return write_string(Library([_entry(paper) for paper in cited(atlas)]))


def _entry(paper: Paper) -> Entry:
    values = {
        "title": paper.title,
        "author": paper.authors,
        "year": str(paper.year),
        "url": paper.url,
        "note": paper.note,
    }
    fields = [Field(key, value) for key, value in values.items() if value]
    if paper.url.startswith("https://arxiv.org/abs/"):
        eprint = paper.url.rsplit("/", 1)[-1]
        fields += [Field("archiveprefix", "arXiv"), Field("eprint", eprint)]
    return Entry(entry_type="misc", key=paper.id, fields=fields)
