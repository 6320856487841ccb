"""A page: where it stands, what its template shows, and how it becomes bytes.

All links are relative, so that a folder works from disk and under any path of any host. The policy lets a page
load only files beside it: ``file:`` stands besides ``'self'``, since a page from disk has no origin of its own.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2
from markupsafe import Markup

from keyturn.core.numbers import MINUS
from keyturn.report.page import asset, environment
from keyturn.site.marks import LOOK, MEANING, mark
from keyturn.site.prose import prose

POLICY = (
    "default-src 'none'; img-src data:; style-src 'self' file:; script-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
ICON = Markup(
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Cg fill='none' "
    "stroke='%232b6cb0' stroke-width='3'%3E%3Ccircle cx='10' cy='16' r='6'/%3E%3Cpath d='M16 16h13v6m-6-6v5'"
    "/%3E%3C/g%3E%3C/svg%3E"
)
HYPHEN = re.compile(r"(?<![\w.-])-(?=\.?\d)")
"""A hyphen that stands for a minus sign in words written by hand."""
PLACES = (
    ("questions/index.html", "Questions"),
    ("map.html", "Map"),
    ("claims/index.html", "Claims"),
    ("next.html", "What to run"),
    ("changes.html", "Changes"),
    ("trust.html", "Trust"),
)
"""The head of every page: path -> name."""
MORE_PLACES = (
    ("topics/index.html", "Topics"),
    ("papers/index.html", "Papers"),
    ("methods/index.html", "Methods"),
    ("records/index.html", "Records"),
    ("about.html", "About"),
)
"""The foot of every page."""


UNCHANGED = ""
"""Template of a page that stays as an earlier build left it."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page.

    Args:
        path: within the site, such as ``notes/one-example.html``.
        template: name of its template.
        title: of the window.
        summary: one sentence for lists of pages.
        under: the place in the head that it belongs to.
        shows: what the template is given.
    """

    path: str
    template: str
    title: str
    summary: str = ""
    under: str = ""
    shows: Mapping[str, Any] = field(default_factory=dict)

    def render(self) -> bytes:
        """The page as UTF-8."""
        root = "../" * self.path.count("/")
        text = (
            _environment()
            .get_template(self.template)
            .render(
                policy=POLICY,
                icon=ICON,
                title=f"{self.title} · keyturn atlas",
                summary=self.summary or self.title,
                root=root,
                url=lambda target: relative(self.path, target),
                here=self.path,
                under=self.under,
                places=PLACES,
                more_places=MORE_PLACES,
                **self.shows,
            )
        )
        return text.encode()


def relative(start: str, target: str) -> str:
    """The link from one page to another, or to a place in it."""
    path, hash_sign, place = target.partition("#")
    if path == start and place:
        return f"#{place}"
    found = posixpath.relpath(path, posixpath.dirname(start) or ".")
    return f"{found}{hash_sign}{place}"


@functools.cache
def _environment() -> jinja2.Environment:
    found = environment("site")
    found.globals["mark"] = mark
    found.globals["looks"] = LOOK
    found.globals["meanings"] = MEANING
    found.filters["prose"] = prose
    found.filters["minus"] = lambda words: HYPHEN.sub(MINUS, words)
    found.filters["first_up"] = lambda words: words[:1].upper() + words[1:]
    return found


def style() -> bytes:
    """The one style sheet."""
    return (asset("shared.css", "style") + asset("site.css", "site")).encode()


def program() -> bytes:
    """The one script of all pages."""
    return (asset("shared.js", "style") + asset("site.js", "site")).encode()
