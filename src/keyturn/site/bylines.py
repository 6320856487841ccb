"""Authors of a paper as people write them."""

from __future__ import annotations

UNNAMED = "authors not recorded"


def authors(names: str) -> str:
    """Authors of a BibTeX field in a line of text."""
    found = [one.strip() for one in names.split(" and ") if one.strip()]
    if not found:
        return UNNAMED
    if found[-1] == "others":
        return f"{', '.join(found[:-1])} and others"
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def paper_name(names: str, year: int) -> str:
    """The first author and the year."""
    return f"{names.split(' and ')[0].split(',')[0] or UNNAMED} {year}"
