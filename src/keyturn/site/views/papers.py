"""Pages of papers: the notes and claims that cite each, and the numbers that it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyturn.atlas.collection import Paper
from keyturn.site import paths
from keyturn.site.bylines import authors
from keyturn.site.figures import quoted
from keyturn.site.page import Page
from keyturn.site.source import Source
from keyturn.site.views.claims import badge
from keyturn.site.views.notes import card, similarity


def pages(source: Source) -> Iterator[Page]:
    """Every paper, and their list."""
    papers = sorted(source.atlas.papers.values(), key=lambda one: (-one.year, one.title))
    for one in papers:
        yield source.page(paths.paper(one.id), _page, source, one)
    rows = [
        {
            **_head(one),
            "path": paths.paper(one.id),
            "notes": sum(one.id in note.papers for note in source.atlas.notes.values()),
            "claims": len(_claims(source, one)),
        }
        for one in papers
    ]
    yield Page(path="papers/index.html", template="papers.html.jinja", title="Papers", shows={"papers": rows})


def _head(one: Paper) -> dict[str, Any]:
    return {
        "id": one.id,
        "title": one.title,
        "authors": authors(one.authors),
        "year": one.year,
        "url": one.url,
        "note": one.note,
    }


def _claims(source: Source, one: Paper) -> list[str]:
    return [name for name, claim in source.claims.items() if one.id in claim.source]


def _page(source: Source, one: Paper) -> Page:
    notes = [note for note in source.atlas.notes.values() if one.id in note.papers]
    reported = [
        {
            "numbers": [
                {
                    "what": quantity.what,
                    "number": quoted(str(quantity), f"{fact.id}/{quantity.id}"),
                    "locator": ", ".join(filter(None, (quantity.locator, quantity.version))),
                }
                for quantity in own
            ],
            "fact": fact.says,
            "path": paths.fact(fact.id),
            "state": source.state(fact.id),
        }
        for fact in source.atlas.facts.values()
        if (own := [quantity for quantity in fact.quantities if quantity.paper == one.id])
    ]
    claims = [
        {
            "path": paths.claim(name),
            "title": source.claims[name].statement,
            "badge": badge(source.verdicts[name]),
        }
        for name in _claims(source, one)
    ]
    return Page(
        path=paths.paper(one.id),
        template="paper.html.jinja",
        title=one.title,
        under="papers/index.html",
        shows={
            "paper": _head(one),
            "notes": [card(source, note) for note in notes],
            "claims": claims,
            "reported": reported,
            "related": [
                {
                    "path": paths.paper(hit.id),
                    "title": source.atlas.papers[hit.id].title,
                    "number": similarity(one.id, hit),
                }
                for hit in source.related_papers.get(one.id, ())
            ],
        },
    )
