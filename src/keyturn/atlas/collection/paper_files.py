"""Papers in BibTeX: the key is the arXiv id, or any other stable id where there is none."""

from __future__ import annotations

import logging

from bibtexparser.entrypoint import parse_string

from keyturn.atlas.collection.fields import File
from keyturn.atlas.collection.objects import Paper

_ARXIV = "https://arxiv.org/abs/"


def read_papers(text: str, file: File) -> tuple[Paper, ...]:
    """The papers of one file; entries that are no BibTeX become problems."""

    # It warns of each block that fails; these are problems of ours.
    logging.getLogger("bibtexparser").setLevel(logging.ERROR)
    logging.getLogger("bibtexparser.splitter").setLevel(logging.ERROR)
    found = []
    library = parse_string(text)
    for block in library.failed_blocks:
        key = getattr(block, "key", None)
        what = f"the paper {key!r} is given twice" if key else "an entry is no BibTeX"
        file.wrong((block.start_line or 0) + 1, what, "one entry a paper, its braces closed")
    for entry in library.entries:
        line = (entry.start_line or 0) + 1
        fields = {key: " ".join(str(value.value).split()) for key, value in entry.fields_dict.items()}
        if not fields.get("title"):
            file.wrong(line, f"the paper {entry.key!r} has no title", "title = {...}")
        year = fields.get("year", "")
        if not year.isdigit():
            file.wrong(line, f"the year of {entry.key!r} is {year!r}", "year = {2025}")
        eprint = fields.get("eprint", "")
        found.append(
            Paper(
                id=entry.key,
                title=fields.get("title", "").replace("{", "").replace("}", ""),
                authors=fields.get("author", ""),
                year=int(year) if year.isdigit() else 0,
                url=fields.get("url", "") or (_ARXIV + eprint if eprint else ""),
                note=fields.get("note", ""),
                place=file.place(line),
            )
        )
    return tuple(found)
