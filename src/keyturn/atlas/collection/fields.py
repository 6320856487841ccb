"""Typed reading of one mapping of a file: every problem has its line, and an unknown key its near match."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from keyturn.atlas.collection.front_matter import Document, Path
from keyturn.atlas.collection.objects import Origin, Place


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong in a file of the collection.

    Args:
        place: file and line.
        what: what is wrong.
        fix: what to write instead.
    """

    place: Place
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what} (fix: {self.fix})"


@dataclass(kw_only=True)
class File:
    """A file that is being read, and the problems found in it."""

    name: str
    origin: Origin
    problems: list[Problem] = field(default_factory=list)

    def place(self, line: int) -> Place:
        """A line of this file."""
        return Place(file=self.name, line=line, origin=self.origin)

    def wrong(self, line: int, what: str, fix: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(place=self.place(line), what=what, fix=fix))


class Fields:
    """One mapping of a document.

    Args:
        file: takes the problems.
        document: the whole document.
        path: where the mapping stands in it.
        known: keys that it may have.
    """

    def __init__(self, file: File, document: Document, path: Path, known: Sequence[str]) -> None:
        self.file, self.document, self.path = file, document, path
        found: Any = document.data
        for step in path:
            found = found[step]
        self.line = document.lines.get(path, 1)
        if not isinstance(found, dict):
            file.wrong(self.line, f"{_name(path)} is no mapping of keys to values", f"keys: {', '.join(known)}")
            found = {}
        self.data: dict[str, Any] = found
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                file.wrong(self.line_of(key), f"unknown key {key!r}", fix)

    def __contains__(self, key: str) -> bool:
        return key in self.data

    def line_of(self, key: str | int, *more: str | int) -> int:
        """The line of a value below this mapping."""
        return self.document.lines.get((*self.path, key, *more), self.line)

    def text(self, key: str, *, needed: bool = True) -> str:
        """A text; line breaks within it become spaces."""
        value = self.data.get(key)
        if value is None or value == "":
            if needed:
                self.file.wrong(self.line, f"{_name(self.path)} lacks {key!r}", f"{key}: ...")
            return ""
        if not isinstance(value, str):
            self.file.wrong(self.line_of(key), f"{key!r} is no text", f"{key}: one line of text")
            return ""
        return " ".join(value.split())

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        value = self.data.get(key)
        if value is None or value == "":
            return ()
        if isinstance(value, str):
            return (" ".join(value.split()),)
        if not isinstance(value, list) or any(not isinstance(one, str) for one in value):
            self.file.wrong(self.line_of(key), f"{key!r} is no list of texts", f"{key}: [first, second]")
            return ()
        return tuple(" ".join(one.split()) for one in value)

    def choice(self, key: str, options: Sequence[str], default: str = "") -> str:
        """One of a few words."""
        value = self.text(key, needed=not default) or default
        if value and value not in options:
            near = difflib.get_close_matches(value, options, n=1)
            fix = f"did you mean {near[0]}?" if near else f"one of {', '.join(options)}"
            self.file.wrong(self.line_of(key), f"{key} is {value!r}", fix)
            return default or options[0]
        return value or options[0]

    def number(self, key: str) -> float:
        """A finite number; NaN where it is none, which is a problem."""
        numbers = self.numbers(key)
        if len(numbers) > 1:
            self.file.wrong(self.line_of(key), f"{key!r} is several numbers", f"{key}: 0.05")
        return numbers[0] if numbers else math.nan

    def numbers(self, key: str) -> tuple[float, ...]:
        """One finite number or a list of them."""
        value = self.data.get(key)
        words = value if isinstance(value, list) else [value]
        found = []
        for word in words:
            try:
                one = float(word) if isinstance(word, str) else math.nan
            except ValueError:
                one = math.nan
            if not math.isfinite(one):
                self.file.wrong(self.line_of(key), f"{key!r} is no finite number", f"{key}: 0.05")
                return ()
            found.append(one)
        return tuple(found)

    def switch(self, key: str) -> bool:
        """``yes`` or ``no``; no where it is not given."""
        return self.choice(key, ("yes", "no"), "no") == "yes"

    def items(self, key: str) -> range:
        """Indices of a list of mappings, which :class:`Fields` reads one by one."""
        value = self.data.get(key)
        if value is None or value == "":
            return range(0)
        if not isinstance(value, list):
            self.file.wrong(self.line_of(key), f"{key!r} is no list", f"{key}: and each entry after a hyphen")
            return range(0)
        return range(len(value))

    def inside(self, key: str, index: int, known: Sequence[str]) -> Fields:
        """One mapping of a list."""
        return Fields(self.file, self.document, (*self.path, key, index), known)


def _name(path: Path) -> str:
    """A path for people: ``facts/2`` is the second fact."""
    if not path:
        return "the file"
    return "/".join(str(step + 1) if isinstance(step, int) else step for step in path)
