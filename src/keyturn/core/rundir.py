"""Run directories: where stages meet. Written aside and renamed; ``DONE`` comes last of all.

A directory is owned by one process at a time (``LOCK`` names it; the lock of a dead process is taken
over). Identity is a hash of declared fields, never of a path or a clock.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
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
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        if data and not data.endswith(b"\n"):
            write_bytes(path, data[: data.rfind(b"\n") + 1])
        with path.open("ab") as stream:
            stream.write(json.dumps(row, allow_nan=False).encode() + b"\n")


def read_jsonl(path: Path) -> list[dict[str, Json]]:
    """All whole lines; a torn last one is left out."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line.strip()]


def mark_done(folder: Path) -> None:
    """Say that everything in the folder is there. Called last."""
    write_bytes(folder / DONE, b"")


def is_done(folder: Path) -> bool:
    """Whether the folder was finished."""
    return (folder / DONE).exists()


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[Path]:
    """Hold a run directory; a second live process is refused and told who holds it.

    Raises:
        BusyError: another live process of this machine (or any of another) holds it.
    """
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = folder / _LOCK
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    while True:
        try:
            with storage(lock):
                handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder = _holder(lock)
            if holder is not None and _alive(holder):
                raise BusyError(
                    f"{folder} is in use by process {holder['pid']} on {holder['host']}",
                    fix="wait for it, stop it, or choose another directory with --out",
                ) from None
            lock.unlink(missing_ok=True)
            continue
        os.write(handle, json.dumps(me).encode())
        os.close(handle)
        break
    try:
        yield folder
    finally:
        lock.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int:
    """Free space where the folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _holder(lock: Path) -> dict[str, Any] | None:
    try:
        return json.loads(lock.read_text())
    except (OSError, ValueError):
        return None


def _alive(holder: Mapping[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return True
    pid = int(holder.get("pid", -1))
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A process id may have been given to another process since.
    return holder.get("started") in ("", None, _started(pid))


def _started(pid: int) -> str:
    """Start time of a process in clock ticks, ``""`` where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
