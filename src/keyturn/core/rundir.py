"""Run directories. Files are written beside their target and renamed; ``DONE`` is written last.

One process at a time owns a directory (``LOCK`` names it; the operating system frees the lock of a process that
died). Nothing is written through a symbolic link, since a run directory from elsewhere could point anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from keyturn.core.errors import BusyError, NewerError, StorageError
from keyturn.core.measurement import Json

SCHEMA = 1
"""Version of every JSON document that keyturn writes; readers refuse a newer one."""

DONE = "DONE"
_HELD = ".lock"
"""File that the operating system locks; it stays, since removing it would let two processes lock two files."""
_LOCK = "LOCK"
"""File that names the owner of the lock, for information only."""
_HERE = hashlib.blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()
_ASIDE = re.compile(r"\..+\.([0-9a-f]{6})-(\d+)\.part")
_FREE = (DONE, _LOCK, "stage.json", "time.json", "times.jsonl", "environment.json", "damaged")
"""Files on which no result depends."""
_LONGEST = 255
"""Maximum number of bytes of a file name on common file systems."""

_log = logging.getLogger("keyturn")
_cleared: set[Path] = set()


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into errors that name the fix."""
    try:
        yield
    except OSError as error:
        what, fix = _refusal(path, error)
        if not what:
            raise
        raise StorageError(what, fix=fix) from error


def _refusal(path: Path, error: OSError) -> tuple[str, str]:
    number = error.errno
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full while writing {path}", "free space, then resume"
    if number == errno.EFBIG:
        return f"{path} may not grow further: a limit on the size of files", "raise it (ulimit -f), then resume"
    if number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"not allowed to write {path}", "choose another directory with --out"
    if number in (errno.EISDIR, errno.ELOOP):
        return f"{path} is a directory or a link, not a plain file", "move it away, then run again"
    if number == errno.EIO:
        return (
            f"the disk failed at {path} ({error.strerror})",
            "check the disk, then resume elsewhere with --out",
        )
    if number in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return f"{path} cannot be a directory ({error.strerror})", "choose another one with --out"
    return "", ""


def beside(path: Path, ending: str = "part") -> Path:
    """The name under which the next version of a file or a folder is written, in the same directory.

    It contains host and process, so that leftovers of a crash are recognised; they are removed when this
    process first writes into the directory.
    """
    if path.parent not in _cleared:
        _cleared.add(path.parent)
        _clear(path.parent)
    tail = f".{_HERE}-{os.getpid()}.{ending}"
    name = f".{path.name}"
    if len(os.fsencode(name + tail)) > _LONGEST:
        name = f".{hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()}"
    return path.with_name(name + tail)


def _clear(folder: Path) -> None:
    """Remove unfinished files of processes that no longer run."""
    for path in folder.glob(".*.part"):
        found = _ASIDE.fullmatch(path.name)
        # A process with our own number is gone: it had the number before us, as is usual in containers.
        if found and found[1] == _HERE and (int(found[2]) == os.getpid() or not _alive(int(found[2]))):
            remove(path)


def _alive(process: int) -> bool:
    """Whether a process of this host runs; assumed if it cannot be found out."""
    if os.name == "nt":
        return True  # signal 0 would end it there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file completely or not at all: beside its target, flushed to disk, renamed.

    A link of that name is replaced; its target stays as it is.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = beside(path)
        try:
            with aside.open("xb", buffering=0) as stream:
                write_all(stream.fileno(), data)
                os.fsync(stream.fileno())
            aside.replace(path)
        except BaseException:
            remove(aside)
            raise


def write_all(handle: int, data: bytes) -> None:
    """Write all bytes; a single system call may write fewer, and reports its error only at the next call."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, completely or not at all; a lone surrogate, which UTF-8 lacks, becomes
    ``?``."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document with its schema number, completely or not at all."""
    whole = {"schema": SCHEMA, **document}
    try:
        data = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # UTF-8 has no bytes for a lone surrogate, but JSON has an escape.
        data = json.dumps(whole, indent=1, allow_nan=False).encode()
    write_bytes(path, data)


def read_json(path: Path) -> dict[str, Json]:
    """Read a JSON document and check its schema number.

    Raises:
        StorageError: it is missing, damaged, or not a regular file.
        NewerError: a newer keyturn wrote it.
    """
    again = "delete it and run again"
    try:
        document = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"cannot read {path}: {error}", fix=again) from error
    if not isinstance(document, dict):
        raise StorageError(f"{path} is not a JSON object", fix=again)
    check_schema(document, str(path), again)
    return document


def check_schema(document: Mapping[str, Any], where: str, fix: str, *, newest: int = SCHEMA) -> None:
    """Refuse a document of a newer keyturn, or one whose schema is no number; none at all is the first.

    Args:
        document: what was read.
        where: file and line, for the message.
        fix: what to do about a schema that is no version.
        newest: the newest schema that is read here.

    Raises:
        NewerError: newer than this keyturn reads.
        StorageError: no version.
    """
    schema = document.get("schema", SCHEMA)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 0:
        raise StorageError(
            f"{where} has the schema {str(schema)[:40]!r}, which is not a version number", fix=fix
        )
    if schema > newest:
        raise NewerError(
            f"{where} was written by a newer keyturn (schema {schema}, this one reads {newest})",
            fix="upgrade keyturn",
        )


def read_whole(path: Path) -> bytes:
    """The bytes of a regular file; a pipe is refused, since reading it might never end."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file")
    return path.read_bytes()


def mark_done(folder: Path) -> None:
    """Mark the folder as complete and record its files. Called last."""
    sums = {name: file_hash(folder / name) for name in _results(folder)}
    write_bytes(folder / DONE, json.dumps({"sha256": sums}, indent=1).encode())


def _results(folder: Path) -> list[str]:
    """Files that a result depends on, without those of folders that have their own manifest."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _FREE or path.is_symlink():
            continue
        if path.is_file():
            found.append(path.name)
        elif path.is_dir() and not (path / "manifest.json").exists():
            found += [f"{path.name}/{name}" for name in _results(path)]
    return found


def damaged(folder: Path) -> list[str]:
    """Files of a finished folder that are missing or have changed since it was finished."""
    try:
        sums = json.loads(read_whole(folder / DONE))["sha256"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # no manifest to compare with
    return [
        name for name, digest in sums if not (folder / name).is_file() or file_hash(folder / name) != digest
    ]


def reopen(folder: Path, into: Path) -> None:
    """Mark a finished folder, which this process owns, as unfinished, and set damaged files aside.

    Args:
        folder: the folder to work on again.
        into: folder for the damaged files; they go into a subfolder of the same name.
    """
    names = damaged(folder)
    with storage_errors(folder):
        (folder / DONE).unlink(missing_ok=True)
    if names:
        place = _place(folder, into)
        for name in names:
            if (folder / name).exists():
                with storage_errors(place):
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).rename(place / name)


def is_done(folder: Path) -> bool:
    """Whether the folder is marked as complete."""
    return (folder / DONE).exists()


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[Path]:
    """Lock a run directory; a second process gets an error that names the owner.

    The operating system's file lock decides, so the lock of a process that died is free at once.

    Raises:
        BusyError: a running process holds the lock.
    """
    lock, name = filelock.FileLock(folder / _HELD, timeout=0), folder / _LOCK
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with storage_errors(folder / _HELD):
            lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(
            f"{folder} is in use by {_holder(name)}",
            fix="wait for it, stop it, or choose another directory with --out",
        ) from error
    try:
        if name.is_file():
            _log.warning("%s: resumed after %s was cut off", folder, _holder(name))
        write_bytes(name, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield folder
    finally:
        remove(name)
        lock.release()


def _holder(lock: Path) -> str:
    try:
        holder = json.loads(read_whole(lock))
        return f"process {int(holder['pid'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def set_aside(folder: Path, into: Path) -> Path:
    """Move the content of a directory that this process owns away, so that it can still be examined.

    Args:
        folder: the directory, which is empty afterwards.
        into: folder that gets a subfolder of the same name, with a number if there is one already.
    """
    place = _place(folder, into)
    with storage_errors(place):
        for path in sorted(folder.glob("*")):
            if path.name not in (_HELD, _LOCK):
                path.rename(place / path.name)
    return place


def _place(folder: Path, into: Path) -> Path:
    number = 1
    while (place := into / f"{folder.name}-{number}").exists():
        number += 1
    with storage_errors(place):
        place.mkdir(parents=True)
    return place


def remove_leftovers(folder: Path) -> None:
    """Remove incomplete files that crashes left below a directory that this process owns."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob(".*.part")):
        remove(path)


def free_bytes(folder: Path) -> int:
    """Free space, in bytes, on the disk of the folder."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
