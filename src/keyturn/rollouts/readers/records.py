"""Raw records of a file: JSONL, JSON or Parquet to a list of dictionaries, nothing interpreted."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from keyturn.core.errors import InputError, UsageError

Record: TypeAlias = "Mapping[str, Any]"

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
"""What is read. ``.json`` is a list of records, or an object with a list ``samples`` (Inspect's log)."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a file holds.

    Args:
        path: the file.
        rows: its records, in order.
        notes: what was passed over, one sentence each.
    """

    path: Path
    rows: Sequence[Record]
    notes: tuple[str, ...] = ()


def split_selector(source: str | Path) -> tuple[Path, str]:
    """``file.jsonl#which`` as the path and what stands behind the last ``#``.

    A file whose name holds a ``#`` is found first.
    """
    text = str(source)
    path = Path(text).expanduser()
    if "#" not in text or path.exists():
        return path, ""
    name, which = text.rsplit("#", 1)
    return Path(name).expanduser(), which


def read_records(path: Path) -> Records:
    """Read a file of records.

    Raises:
        UsageError: no such file, a folder, or an unknown kind of file.
        InputError: a damaged file, naming the line; or no record in it.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}", fix=f"name a file that ends in {', '.join(SUFFIXES)}")
    name = path.name.lower()
    if name.endswith(".parquet"):
        records = Records(path=path, rows=_parquet(path))
    elif name.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
        records = _json_lines(path)
    elif name.endswith((".json", ".json.gz")):
        records = Records(path=path, rows=_json(path))
    else:
        raise UsageError(f"{path.name}: unknown kind of file", fix=f"known: {', '.join(SUFFIXES)}")
    if not records.rows:
        raise InputError(f"{path} holds no records", fix="check that it was written to its end")
    return records


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}", fix="check that it was copied to its end") from error


def _json_lines(path: Path) -> Records:
    data = _bytes(path).removeprefix(b"\xef\xbb\xbf")
    lines = data.split(b"\n")
    rows: list[Record] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and rows:  # no newline at its end: the writer was interrupted
                notes.append(f"line {number}, the last one, is torn and was left out")
                break
            raise InputError(
                f"{path}, line {number}: not JSON ({_reason(error)})", fix="write one JSON object a line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object", fix="write one JSON object a line")
        rows.append(row)
    return Records(path=path, rows=rows, notes=tuple(notes))


def _json(path: Path) -> list[Record]:
    try:
        document = _loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({_reason(error)})", fix="one JSON document, or .jsonl") from error
    rows = document.get("samples") if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"{path}: neither a list of objects nor an object with a list 'samples'",
            fix="write a list of records, or one JSON object a line into a .jsonl file",
        )
    return rows


def _loads(data: bytes) -> Any:
    # What is not UTF-8 becomes U+FFFD: a broken byte in one completion must not lose the file.
    return json.loads(data.decode("utf-8", "replace"))


def _parquet(path: Path) -> list[Record]:
    try:
        return pq.read_table(path, memory_map=False).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}", fix="check that it is Parquet") from error


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
