"""Reads a report the way a browser's parser does, and says what in it could load or run something."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Tags with attributes, and the text of each kind of element."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text_of: dict[str, list[str]] = {}
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self.text_of.setdefault(tag, []).append("")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack[-1] == tag, f"</{tag}> closes <{self.stack[-1]}>"
        self.stack.pop()

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data):
        if self.stack:
            self.text_of[self.stack[-1]][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


def policy_of(page: Page) -> str:
    return next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")


def hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def breaches(text: str) -> list[str]:
    """Everything in a page that could load, run or restyle something that is not the page's own."""
    page = Page(text)
    policy = policy_of(page)
    found = []
    for kind in ("script", "style"):
        for inside in page.text_of.get(kind, []):
            if f"'{hash_of(inside)}'" not in policy:
                found.append(f"{kind} without its hash")
    for tag, attrs in page.tags:
        found += [f"{tag} {name}" for name in attrs if name.startswith("on") or name == "style"]
        found += [
            f"{tag} {name}={attrs[name]}" for name in ("src", "srcset", "action", "poster") if name in attrs
        ]
        href = attrs.get("href", attrs.get("xlink:href", "#"))
        if not href.startswith(("#", "data:")):
            found.append(f"{tag} href={href}")
        if tag in {"iframe", "object", "embed", "form", "base", "img", "video", "audio", "foreignobject"}:
            found.append(tag)
    own = "".join(page.text_of.get("style", []))
    found += re.findall(r"@import[^;]*|url\([^)]*\)", own)
    return found
