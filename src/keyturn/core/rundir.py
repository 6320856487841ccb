"""Run directories: where stages meet. Written aside and renamed; ``DONE`` comes last of all.

A directory is owned by one process at a time (``LOCK`` names it; the operating system frees the lock of a
process that died). Identity is a hash of declared fields, never of a path or a clock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keyturn.core.errors import BusyError, StorageError
from keyturn.core.measurement import Json

SCHEMA = 1
"""Version of every JSON document that keyturn writes; readers refuse a newer one."""

DONE = "DONE"
_LOCK = "LOCK"
_FAR = 1 << 30
"""Byte that Windows locks: beyond the text, which others must be able to read."""


def identity(fields: Mapping[str, Any], length: int = 12) -> str:
    """A short hash of declared fields: equal fields give equal identities on every machine."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors that name the fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"disk full while writing {path}", fix="free space, then resume") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise StorageError(
                f"not allowed to write {path}", fix="choose another directory with --out"
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
            raise StorageError(
                f"{path} cannot be a directory ({error.strerror})", fix="choose another one with --out"
            ) from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside its target, flushed to disk, renamed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document with its schema number, whole or not at all."""
    text = json.dumps({"schema": SCHEMA, **document}, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Json]:
    """Read a JSON document and check its schema number."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}", fix="delete it and run again") from error
    if not isinstance(document, dict):
        raise StorageError(f"{path} is not a JSON object", fix="delete it and run again")
    if int(document.get("schema", 0)) > SCHEMA:
        raise StorageError(f"{path} was written by a newer keyturn", fix="upgrade keyturn")
    return document


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line; a torn last line of an earlier crash is cut off first."""
    line = json.dumps(row, allow_nan=False).encode() + b"\n"
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            size = stream.seek(0, os.SEEK_END)
            if size and (stream.seek(size - 1), stream.read(1))[1] != b"\n":
                stream.seek(0)
                size = stream.read().rfind(b"\n") + 1
                stream.truncate(size)
            try:
                stream.write(line)
                stream.flush()
            except OSError:
                # Half a line is worse than none: the next append would have to guess.
                with contextlib.suppress(OSError):
                    os.ftruncate(stream.fileno(), size)
                raise


def read_jsonl(path: Path) -> list[dict[str, Json]]:
    """All whole lines; a torn last one is left out.

    Raises:
        StorageError: a line within the file is not JSON; the message says which.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    rows = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise StorageError(f"{path} line {number} is damaged", fix="remove that line") from error
    return rows


def cut(path: Path, size: int) -> None:
    """Cut a file to ``size`` bytes: what was written after a checkpoint is written again.

    Raises:
        StorageError: the file is shorter than that, so something else has changed it.
    """
    have = path.stat().st_size if path.exists() else 0
    if have < size:
        raise StorageError(
            f"{path} has {have} bytes where {size} were written", fix="start the run in a new directory"
        )
    if have > size:
        with storage(path):
            os.truncate(path, size)


def mark_done(folder: Path) -> None:
    """Say that everything in the folder is there. Called last."""
    write_bytes(folder / DONE, b"")


def is_done(folder: Path) -> bool:
    """Whether the folder was finished."""
    return (folder / DONE).exists()


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[Path]:
    """Hold a run directory; a second live process is refused and told who holds it.

    The operating system's file lock decides, so the lock of a process that died is free at once.

    Raises:
        BusyError: a live process holds it.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = folder / _LOCK
    handle = _take(folder, lock)
    try:
        yield folder
    finally:
        if os.name == "nt":
            os.close(handle)
            lock.unlink(missing_ok=True)
        else:
            # Removed while still held: nobody can lock a file that is about to go.
            lock.unlink(missing_ok=True)
            os.close(handle)


def _take(folder: Path, lock: Path) -> int:
    while True:
        with storage(lock):
            handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        if not _locked(handle):
            os.close(handle)
            raise BusyError(
                f"{folder} is in use by {_holder(lock)}",
                fix="wait for it, stop it, or choose another directory with --out",
            )
        try:
            current = os.path.samestat(os.fstat(handle), os.stat(lock))
        except FileNotFoundError:
            current = False
        if current:
            break
        # Its last owner removed it between our opening and our locking.
        os.close(handle)
    os.truncate(handle, 0)
    os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
    return handle


def _locked(handle: int) -> bool:
    """Lock an open file for this process alone, without waiting."""
    try:
        if os.name == "nt":
            msvcrt = importlib.import_module("msvcrt")
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            fcntl = importlib.import_module("fcntl")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _holder(lock: Path) -> str:
    try:
        holder = json.loads(lock.read_text())
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def sweep(folder: Path) -> None:
    """Remove what crashes left half made below a directory that this process owns."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob(".*.part")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Free space where the folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
