"""Writing the site: only files whose bytes changed are written, and files of pages that are gone are removed.

A folder that the site did not make is never written into. What a build wrote stands in ``.keyturn-atlas.json``
with the hash of each file, so that the same atlas gives the same bytes and a second build writes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA, read_json, storage_errors, write_bytes

MANIFEST = ".keyturn-atlas.json"


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build did.

    Args:
        out: the folder.
        files: how many files the site has.
        written, removed: paths within it that changed or went.
    """

    out: Path
    files: int
    written: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def index(self) -> Path:
        """The page to open."""
        return self.out / "index.html"


def write_site(
    files: Iterable[tuple[str, bytes | None]], out: Path, *, marks: Mapping[str, str] | None = None
) -> Built:
    """Write the files of a site.

    Args:
        files: (path with ``/`` within the folder, content); written as they come. None stands for a file that
            an earlier build wrote.
        out: the folder; it is made, or was made by an earlier build, or is empty.
        marks: what the files are made of, for the next build.

    Raises:
        UsageError: the folder holds something else.
        StorageError: something cannot be written.
    """
    out = Path(out).absolute()
    before = written_before(out)
    known = marks_before(out)
    now: dict[str, str] = {}
    written: list[str] = []
    for name, content in files:
        if content is None:
            now[name] = before[name]
            continue
        now[name] = hashlib.sha256(content).hexdigest()
        path = out / _inside(name)
        if before.get(name) != now[name] or not path.is_file():
            if not written:
                # An interrupted build leaves a folder that the next one knows as its own and makes anew.
                _mark(out, dict.fromkeys(before, ""))
            _write(path, content)
            written.append(name)
    gone = sorted(set(before) - set(now))
    with storage_errors(out):
        for name in gone:
            (out / _inside(name)).unlink(missing_ok=True)
    if written or now != before or dict(marks or {}) != known:
        _mark(out, now, marks)
    return Built(out=out, files=len(now), written=tuple(written), removed=tuple(gone))


def written_before(out: Path) -> dict[str, str]:
    """Path -> hash of what an earlier build wrote into a folder; nothing for one that is empty or not there.

    Raises:
        UsageError: the folder holds something that no build of an atlas wrote.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", fix="name a folder: keyturn atlas build OUT")
    if not out.exists() or not any(out.iterdir()):
        return {}
    if not (out / MANIFEST).is_file():
        raise UsageError(
            f"{out} is not empty and holds no atlas of keyturn", fix="name a new or an empty folder"
        )
    found = read_json(out / MANIFEST).get("files")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, content: bytes) -> None:
    """Write a page aside and rename it; what a power cut loses the next build makes again."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)


def marks_before(out: Path) -> dict[str, str]:
    """What the files of an earlier build were made of; nothing where it did not end."""
    found = read_json(out / MANIFEST).get("marks") if (out / MANIFEST).is_file() else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _mark(out: Path, files: Mapping[str, str], marks: Mapping[str, str] | None = None) -> None:
    document = {"schema": SCHEMA, "marks": dict(marks or {}), "files": dict(sorted(files.items()))}
    write_bytes(out / MANIFEST, (json.dumps(document, indent=0) + "\n").encode())


def _inside(name: str) -> PurePosixPath:
    """A path within the site, which never leaves it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise UsageError(f"{name!r} is no path of a page", fix="ids are words joined by hyphens")
    return path
