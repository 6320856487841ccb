"""JSON lines: one document per line, appended completely or not at all, even if the disk fails."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keyturn.core.errors import StorageError
from keyturn.core.measurement import Json
from keyturn.core.rundir import read_whole, storage_errors, write_all

_TAIL = 1 << 16
_log = logging.getLogger("keyturn")


def append_jsonl(path: Path, row: Mapping[str, Any], *, flush: bool = False) -> None:
    """Append one line completely or not at all; an incomplete last line of an earlier crash is repaired first.

    Nothing is buffered, so closing the file cannot write data that a full disk refused before. Only one process
    at a time may append.

    Args:
        path: the file.
        row: content of the line.
        flush: return only when the line is on the disk.
    """
    line = json.dumps(row, allow_nan=False).encode() + b"\n"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _opened(path)
        try:
            size = _mended(handle)
            try:
                write_all(handle, line)
                if flush:
                    os.fsync(handle)
            except BaseException:
                # An incomplete line is worse than none.
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)


def _opened(path: Path) -> int:
    """A regular file opened for appending, made if absent; a link is not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ELOOP, "not a regular file", str(path))
    return handle


def _mended(handle: int) -> int:
    """Repair the last line and return the file's size: an incomplete line is cut off, a missing line end is
    added."""
    size = os.fstat(handle).st_size
    at = max(size - 1, 0)
    os.lseek(handle, at, os.SEEK_SET)
    tail = os.read(handle, 1)
    while at > 0 and b"\n" not in tail:
        step = min(_TAIL, at)
        at -= step
        os.lseek(handle, at, os.SEEK_SET)
        tail = os.read(handle, step) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return size
    if _parsed(torn) is not None:
        write_all(handle, b"\n")
        return size + 1
    os.ftruncate(handle, size - len(torn))
    return size - len(torn)


def _parsed(line: bytes) -> dict[str, Json] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def read_jsonl(path: Path, *, growing: bool = False) -> list[dict[str, Json]]:
    """All complete lines; an incomplete last one is left out with a warning.

    Args:
        path: the file; an absent file counts as empty.
        growing: whether another process is appending, so that an incomplete last line needs no warning.

    Raises:
        StorageError: a line within the file is not a JSON object; the message says which.
    """
    return [row for _, _, row in lines_of(path, growing=growing)]


def lines_of(path: Path, *, growing: bool = False) -> Iterator[tuple[int, bytes, dict[str, Json]]]:
    """The whole lines one by one: number, bytes without the line's end, and what they say.

    Args, errors and a torn last line are those of :func:`read_jsonl`.
    """
    if not path.exists():
        return
    try:
        lines = read_whole(path).split(b"\n")
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}", fix="move it away, then run again") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parsed(line)
        if row is not None:
            yield number, line, row
        elif number < len(lines):
            raise StorageError(f"{path} line {number} is damaged", fix="remove that line")
        elif not growing:
            _log.warning("left out the last line of %s, which a crash cut off", path)


def damage_within(path: Path, size: int) -> str:
    """The damage in the first ``size`` bytes of a file, which were complete lines; empty if there is none."""
    data = path.read_bytes() if path.is_file() else b""
    if len(data) < size:
        return f"{path.name} has {len(data)} bytes but {size} were written"
    *lines, rest = data[:size].split(b"\n")
    bad = [number for number, line in enumerate(lines, start=1) if line.strip() and _parsed(line) is None]
    return f"{path.name} line {bad[0]} is damaged" if bad else f"{path.name} was changed" if rest else ""


def cut(path: Path, size: int) -> None:
    """Cut a file to ``size`` bytes, because everything after a checkpoint is written again.

    Raises:
        StorageError: the file is shorter, so something else has changed it.
    """
    have = path.stat().st_size if path.exists() else 0
    if have < size:
        raise StorageError(
            f"{path} has {have} bytes but {size} were written", fix="start the run in a new directory"
        )
    if have > size:
        with storage_errors(path):
            handle = _opened(path)
            try:
                os.ftruncate(handle, size)
            finally:
                os.close(handle)
