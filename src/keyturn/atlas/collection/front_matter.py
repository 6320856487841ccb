"""YAML as this collection reads it: every scalar is text, sizes are bounded, nothing clever is allowed.

``no`` stays a word and ``2510.07360`` keeps its zero, as with PyYAML's ``BaseLoader``. Keys given twice,
anchors, aliases, tags and deep nesting are refused while events come in, so that no document can grow in memory
and none can recurse. Beside the data stands the line of each value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from keyturn.core.errors import InputError

Path: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 256 * 1024
"""Most bytes of a file of the collection: the longest shipped one has a tenth of it."""
MAX_DEPTH = 8

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_KEEP_APART = "write the value out instead"


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a YAML document holds.

    Args:
        data: dictionaries, lists and text.
        lines: path of a value, such as ``("facts", 0, "says")`` -> line in the file, counted from 1.
    """

    data: Any
    lines: dict[Path, int]


class Refused(InputError):
    """A document is refused; ``line`` says where, counted from 1 in the file."""

    def __init__(self, what: str, *, line: int, fix: str) -> None:
        super().__init__(what, fix=fix)
        self.line = line


def read_yaml(text: str, *, first_line: int = 1) -> Document:
    """Read one YAML document.

    Args:
        text: the document.
        first_line: the line of the file on which it begins.

    Raises:
        Refused: it is no YAML, too large or too deep, repeats a key, or uses anchors, aliases, tags or keys
            that are not text.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Refused(
            f"more than {MAX_BYTES // 1024} kB",
            line=first_line,
            fix="one note a file; long prose belongs elsewhere",
        )
    build = _Build(first_line)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            build.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = str(getattr(error, "problem", None) or error).splitlines()[0]
        line = first_line + (mark.line if mark else 0)
        raise Refused(
            f"is no YAML: {said}", line=line, fix='quote text that holds ": ", "#", "[" or "{"'
        ) from error
    return Document(data=build.root, lines=build.lines)


class _Build:
    """Containers that are open, and what is made of the events so far."""

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self.open: list[dict[str, Any] | list[Any]] = []
        self.path: list[str | int] = []
        self.key: list[str | None] = []
        self.documents = 0

    def take(self, event: yaml.Event) -> None:
        line = self.first_line + event.start_mark.line
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise Refused("holds a second document", line=line, fix="one document a file")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Refused("uses an anchor or an alias (& or *)", line=line, fix=_KEEP_APART)
        if tag := getattr(event, "tag", None):
            raise Refused(f"uses a tag ({tag})", line=line, fix="without the tag; everything is text")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event.value, line)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()
            self.key.pop()
            if self.path:
                self.path.pop()

    def _scalar(self, value: str, line: int) -> None:
        inside = self.open[-1] if self.open else None
        if isinstance(inside, dict) and self.key[-1] is None:
            if value in inside:
                raise Refused(f"gives {value!r} twice", line=line, fix="keep one of the two")
            self.key[-1] = value
            return
        self._put(value, line)

    def _start(self, container: dict[str, Any] | list[Any], line: int) -> None:
        if self.open and isinstance(self.open[-1], dict) and self.key[-1] is None:
            raise Refused("has a key that is no text", line=line, fix="keys are words")
        if len(self.open) >= MAX_DEPTH:
            raise Refused(f"nests more than {MAX_DEPTH} deep", line=line, fix="as shipped files are written")
        at = self._put(container, line)
        if at is not None:
            self.path.append(at)
        self.open.append(container)
        self.key.append(None)

    def _put(self, value: Any, line: int) -> str | int | None:
        """Put a value where the open container wants it; its key or index, None for the root."""
        if not self.open:
            self.root = value
            self.lines[()] = line
            return None
        inside = self.open[-1]
        at: str | int
        if isinstance(inside, dict):
            at = self.key[-1] or ""
            inside[at] = value
            self.key[-1] = None
        else:
            at = len(inside)
            inside.append(value)
        self.lines[(*self.path, at)] = line
        return at
