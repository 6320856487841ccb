"""Prose of notes: Markdown without raw HTML, whose links lead to the web or to other notes and nowhere else."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markupsafe import Markup, escape

from keyturn.core.text import visible

_NOTE = re.compile(r"\[\[([a-z0-9][a-z0-9-]*)(?:\|([^\]\n]+))?\]\]")
_NUMBER = re.compile(r"\{([^{}\n]+)\}")


def prose(
    text: str,
    note: Callable[[str], tuple[str, str] | None] = lambda _: None,
    number: Callable[[str], Markup | None] = lambda _: None,
) -> Markup:
    """A body as HTML.

    Args:
        text: Markdown.
        note: id of a note -> (link, question); None leaves the brackets as they are.
        number: reference to a quantity or a reading -> what stands in its place; None leaves it as it is.
    """
    return Markup(_reader().render(visible(text, max_line=0), {"note": note, "number": number}))


@functools.cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable("image")
    reader.validateLink = lambda url: url.startswith(("https://", "http://"))  # type: ignore[method-assign]
    reader.inline.ruler.before("link", "note", _note)
    reader.inline.ruler.before("link", "number", _number)
    return reader


def _note(state: StateInline, silent: bool) -> bool:
    found = _NOTE.match(state.src, state.pos)
    known = found and state.env["note"](found[1])
    if not found or not known:
        return False
    if not silent:
        token = state.push("html_inline", "", 0)
        href, question = known
        token.content = f'<a href="{escape(href)}">{escape(found[2] or question)}</a>'
    state.pos = found.end()
    return True


def _number(state: StateInline, silent: bool) -> bool:
    found = _NUMBER.match(state.src, state.pos)
    shown: Mapping[str, object] | Markup | None = found and state.env["number"](found[1])
    if not found or not shown:
        return False
    if not silent:
        state.push("html_inline", "", 0).content = str(shown)
    state.pos = found.end()
    return True
