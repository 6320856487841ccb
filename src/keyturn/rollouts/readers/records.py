"""Raw records of a file: JSON, JSON lines, CSV, Parquet or an Inspect log as a list of dictionaries."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from keyturn.core.errors import InputError, UsageError
from keyturn.rollouts.arrow import read_parquet
from keyturn.rollouts.readers import strict_json
from keyturn.rollouts.readers.inspect_log import archive_document, document_rows, is_log
from keyturn.rollouts.readers.raw import decode, read_bytes

Record: TypeAlias = "Mapping[str, Any]"

KINDS = "JSON lines, JSON, CSV, Parquet, Arrow or an Inspect log, plain or compressed"
"""Kinds of files; the content of a file decides its kind."""
_LISTS = ("samples", "records", "rows", "data", "results", "rollouts", "instances", "details")
"""Names of the list of records inside one JSON document."""
_DELIMITERS = ",\t;|"
_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records of a file.

    Args:
        path: the file; for records in memory, their name in messages.
        rows: its records, in order.
        policy: the file's name for the policy; ``""`` if there is none.
        notes: what was ignored, one sentence each.
    """

    path: Path
    rows: Sequence[Record]
    policy: str = ""
    notes: tuple[str, ...] = ()


def split_selector(source: str | Path) -> tuple[Path, str]:
    """``file.jsonl#which`` as the path and the text after the last ``#``.

    A file whose name contains a ``#`` is found first.
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
        UsageError: there is no such file, or it is a folder.
        InputError: the kind of file is unknown, it is damaged (the line is named), or it has no record.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}", fix=f"name a file: {KINDS}")
    data = read_bytes(path)
    if data.startswith(b"PAR1"):
        records = Records(path=path, rows=_parquet(path, data))
    elif data.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        records = Records(path=path, rows=_arrow(path, data))
    elif data.startswith(b"PK\x03\x04"):
        records = _log(path, archive_document(path, data))
    else:
        text, notes = decode(path, data)
        records = _text(path, text)
        records = replace(records, notes=(*notes, *records.notes))
    if not records.rows:
        raise InputError(f"{path} holds no records", fix="check that it was written completely")
    empty = sum(row is None for row in records.rows)
    if empty == len(records.rows):
        raise InputError(f"all {empty} records of {path} are null", fix="check how it was written")
    notes = (*records.notes, f"{empty} records are null and were left out") if empty else records.notes
    rows = [row for row in records.rows if row is not None]
    return Records(path=path, rows=rows, policy=records.policy, notes=notes)


def _text(path: Path, text: str) -> Records:
    start = text.lstrip()[:4]
    if start.startswith(("{", "[")) or start == "null":
        return _json(path, text)
    if not start:
        return Records(path=path, rows=())
    try:
        document = strict_json.loads(str(path), text)
    except (ValueError, RecursionError):
        return _csv(path, text)
    raise _no_records(path, document)


def _json(path: Path, text: str) -> Records:
    """One document, one object per line, or objects one after the other."""
    # Only "\n" ends a line: texts may contain Unicode's other line separators.
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.strip())
    further = any(line.strip() for line in lines[first + 1 :])
    try:
        document = strict_json.loads(f"{path}, line {first + 1}", lines[first])
    except (ValueError, RecursionError) as error:
        return _whole(path, text, error, looks_like_lines=_ends_like_a_record(lines[first]))
    if not further and (isinstance(document, dict) or document is None or _are_rows(document)):
        return _document(path, document)
    return _lines(path, lines)


def _ends_like_a_record(line: str) -> bool:
    """Whether a line that is not JSON was meant as one record of many, and not as the start of a document."""
    return line.rstrip().endswith("}") or len(line) > 1000


def _lines(path: Path, lines: Sequence[str]) -> Records:
    rows: list[Record | None] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = strict_json.loads(f"{path}, line {number}", line)
        except (ValueError, RecursionError) as error:
            if number == len(lines) and rows:  # no newline at its end: the writer was interrupted
                notes.append(f"line {number}, the last one, is incomplete and was left out")
                break
            raise _bad_line(path, number, error) from error
        if row is not None and not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object", fix="write one JSON object per line")
        rows.append(row)
    return Records(path=path, rows=rows, notes=tuple(notes))  # type: ignore[arg-type]


def _whole(path: Path, text: str, error: Exception, *, looks_like_lines: bool) -> Records:
    """A document over several lines, or several concatenated documents."""
    decoder = strict_json.decoder(str(path))
    documents: list[Any] = []
    place = len(text) - len(text.lstrip())
    try:
        while place < len(text):
            document, place = decoder.raw_decode(text, place)
            documents.append(document)
            place += len(text[place:]) - len(text[place:].lstrip()) if text[place : place + 1].isspace() else 0
    except (ValueError, RecursionError) as inner:
        if looks_like_lines:
            raise _bad_line(path, 1, error) from inner
        raise InputError(
            f"{path}: not JSON ({_reason(inner)})", fix="one JSON document, or one JSON object per line"
        ) from inner
    if len(documents) == 1:
        return _document(path, documents[0])
    if not all(isinstance(document, dict) for document in documents):
        raise _no_records(path, documents[0])
    return Records(path=path, rows=documents)


def _bad_line(path: Path, number: int, error: Exception) -> InputError:
    return InputError(
        f"{path}, line {number}: not JSON ({_reason(error)})", fix="write one JSON object per line"
    )


def _document(path: Path, document: Any) -> Records:
    """The records in one JSON document."""
    if isinstance(document, dict):
        if is_log(document):
            return _log(path, document)
        for name in _LISTS:
            rows = document.get(name)
            if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
                return Records(path=path, rows=rows)
        return Records(path=path, rows=_columns_as_rows(document) or [document])
    if isinstance(document, list):
        if document and all(isinstance(row, list) for row in document):
            document = [inner for row in document for inner in row]
        if all(row is None or isinstance(row, dict) for row in document):
            return Records(path=path, rows=document)
    raise _no_records(path, document)


def _are_rows(document: Any) -> bool:
    return isinstance(document, list) and all(isinstance(row, dict | list) or row is None for row in document)


def _columns_as_rows(document: Mapping[str, Any]) -> list[Record]:
    """Records of ``{column: {row: value}}``, as pandas writes a table, or of ``{id: record}``; else empty."""
    values = list(document.values())
    if len(values) < 2 or not all(isinstance(value, dict) and value for value in values):
        return []
    keys = list(values[0])
    same = all(list(value) == keys for value in values)
    if same and all(key.isdigit() for key in keys):
        return [{name: column[key] for name, column in document.items()} for key in keys]
    shared = set(keys).intersection(*values)
    return [{"id": name, **record} for name, record in document.items()] if shared else []


def _log(path: Path, log: Mapping[str, Any]) -> Records:
    rows, policy, notes = document_rows(path, log)
    return Records(path=path, rows=rows, policy=policy, notes=notes)


def _no_records(path: Path, document: Any) -> InputError:
    return InputError(
        f"{path}: neither a list of objects nor an object with a list 'samples' ({type(document).__name__})",
        fix="write a list of records, or one JSON object per line",
    )


def _csv(path: Path, text: str) -> Records:
    """A table with a header; an empty field is null."""
    header = text.lstrip("\n\r").split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    if delimiter not in header:
        raise InputError(f"{path}: unknown kind of file", fix=f"write {KINDS}; a CSV file needs its header")
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Record] = []
    torn = ""
    try:
        names = [name or f"unnamed_{place}" for place, name in enumerate(next(reader))]
        _refuse_twice(path, names)
        for fields in reader:
            if not fields:
                continue
            if torn or len(fields) > len(names):
                raise InputError(
                    torn
                    or f"{path}, line {reader.line_num}: {len(fields)} fields, the header has {len(names)}",
                    fix="quote the fields that hold the delimiter",
                )
            if len(fields) < len(names):  # only at the end of the file, where the writer was interrupted
                torn = f"{path}, line {reader.line_num}: {len(fields)} fields, the header has {len(names)}"
                continue
            rows.append({name: field or None for name, field in zip(names, fields, strict=True)})
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}", fix="correct its quotes") from error
    if torn and (not rows or text.endswith("\n")):
        raise InputError(torn, fix="quote the fields that hold the delimiter")
    notes = (f"line {reader.line_num}, the last one, is incomplete and was left out",) if torn else ()
    return Records(path=path, rows=rows, notes=notes)


def _refuse_twice(path: Path, names: Sequence[str]) -> None:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InputError(f"{path}: the column {twice[:40]!r} occurs twice", fix="rename one of them")


def _parquet(path: Path, data: bytes) -> list[Record]:
    try:
        _refuse_twice(path, pq.read_schema(pa.BufferReader(data)).names)
        return read_parquet(data).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}", fix="check that it is Parquet") from error


def _arrow(path: Path, data: bytes) -> list[Record]:
    """Arrow's file format (also Feather), or its stream format, as in saved data sets."""
    try:
        # One thread, for the reason that :func:`read_parquet` gives.
        alone = pa.ipc.IpcReadOptions(use_threads=False)
        opener = pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream
        opened = opener(data, options=alone)
        table = opened.read_all()
        _refuse_twice(path, table.column_names)
        return table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}", fix="write it as Parquet") from error


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
