"""Where every object of the atlas has its page."""

from __future__ import annotations

import hashlib
import re

from keyturn.atlas.collection.objects import kebab

LONGEST = 120
"""Characters of an id in a path; file systems take 255 bytes."""


def note(name: str) -> str:
    """The page of a note."""
    return f"notes/{_safe(name)}.html"


def fact(name: str) -> str:
    """The place of a fact, on the page of its note."""
    return f"{note(name.partition('/')[0])}#{fact_anchor(name)}"


def fact_anchor(name: str) -> str:
    """The name of a fact's place on its page."""
    return f"fact-{kebab(name.partition('/')[2] or name)}"


def topic(name: str) -> str:
    """The page of a topic of notes."""
    return f"topics/{_safe(kebab(name))}.html"


def question(name: str) -> str:
    """The page of a question."""
    return f"questions/{_safe(name)}.html"


def claim(name: str) -> str:
    """The page of a claim."""
    return f"claims/{_safe(name)}.html"


def record(name: str) -> str:
    """The page of an evidence record."""
    return f"records/{_safe(name)}.html"


def paper(name: str) -> str:
    """The page of a paper."""
    return f"papers/{_safe(name)}.html"


def method(name: str) -> str:
    """The page of a method."""
    return f"methods/{_safe(name)}.html"


def experiment(name: str) -> str:
    """The place of an experiment that is not written yet."""
    return f"next.html#{kebab(name)}"


def _safe(name: str) -> str:
    """An id as part of a path; two ids that differ only here would be refused by the collection's lint."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".") or "none"
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 9]}-{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
