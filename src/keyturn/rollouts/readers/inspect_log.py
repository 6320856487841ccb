"""Inspect's logs: one JSON document, or an archive (``.eval``) with one JSON member per sample.

Checked with logs of inspect-ai 0.3.285, whose archives hold members compressed with Zstandard. Neither
inspect-ai nor a Python with Zstandard is needed. Failed samples have no verdict and count as ungraded.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError
from keyturn.rollouts.readers import raw, strict_json

_ZSTD = (20, 93)
"""Numbers of Zstandard in a ZIP archive; Python 3.14 is the first whose ``zipfile`` knows it."""
_CONVERT = "inspect log convert --to json --output-dir converted"
_ATTACHED = "attachment://"
_TEXTS = ("input", "messages", "output", "target", "scores")
"""Parts of a sample in which a long text may be a reference to an attachment."""
_LIMITS = ("token", "context")
"""Kinds of limits that cut a completion."""


def is_log(document: Mapping[str, Any]) -> bool:
    """Whether a JSON document is a log of Inspect."""
    return isinstance(document.get("eval"), Mapping) and ("samples" in document or "plan" in document)


def archive_document(path: Path, data: bytes) -> dict[str, Any]:
    """The log in an archive, as a document of Inspect's JSON format.

    Raises:
        InputError: it is another kind of archive, or it is damaged.
    """
    fix = f"if it is a log of Inspect: {_CONVERT} {path.name}"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # A repeated sample is written again, so the last member of a name counts.
            members = {member.filename: member for member in archive.infolist()}
            samples = [name for name in members if name.startswith("samples/") and name.endswith(".json")]
            head = next((name for name in ("header.json", "_journal/start.json") if name in members), "")
            if not samples and not head:
                raise InputError(f"{path} is an archive but not a log of Inspect", fix="unpack it first")
            room = raw.LARGEST
            read = {}
            for name in filter(None, (*samples, head)):
                content = _member(path, archive, data, members[name], room)
                room -= len(content)
                read[name] = strict_json.loads(f"{path}, {name}", content)
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, zlib.error, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}", fix=fix) from error
    except NotImplementedError as error:
        raise InputError(f"cannot read {path}: {error}", fix=fix) from error
    document = dict(read.get(head, {}))
    if head != "header.json":
        document["status"] = "started"
    return {"eval": {}, **document, "samples": [read[name] for name in samples]}


def _member(path: Path, archive: zipfile.ZipFile, data: bytes, member: zipfile.ZipInfo, room: int) -> bytes:
    if member.compress_type not in _ZSTD:
        return raw.unpacked(path, archive.open(member), room)
    # The local header has 30 bytes and the name, and its "extra" field may differ from the directory's.
    name, extra = struct.unpack_from("<HH", data, member.header_offset + 26)
    start = member.header_offset + 30 + name + extra
    content = raw.unpacked(path, raw.zstd(data[start : start + member.compress_size]), room)
    if zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile(f"bad checksum of {member.filename}")
    return content


def document_rows(
    path: Path, log: Mapping[str, Any]
) -> tuple[Sequence[Mapping[str, Any]], str, tuple[str, ...]]:
    """The samples of a log, the model's name, and notes on the log.

    Raises:
        InputError: the log has no samples (only its header was written).
    """
    samples = log.get("samples")
    if not isinstance(samples, list) or not samples:
        raise InputError(
            f"{path} is a log of Inspect without samples", fix="write it with its samples, not only its header"
        )
    rows = [_row(sample) for sample in samples if isinstance(sample, Mapping)]
    status = log.get("status")
    notes = () if status in (None, "success") else (f"the log's status is {status!r}: it may lack samples",)
    model = log["eval"].get("model")
    return rows, model if isinstance(model, str) else "", notes


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A sample as a record, with its attachments inserted, and without a completion if it failed."""
    row: dict[str, Any] = {name: value for name, value in sample.items() if name not in ("events", "store")}
    attachments = row.pop("attachments", None)
    if isinstance(attachments, Mapping) and attachments:
        row |= {name: _resolved(row[name], attachments) for name in _TEXTS if name in row}
    limit = row.get("limit")
    if isinstance(limit, Mapping) and limit.get("type") in _LIMITS:
        row["truncated"] = True
    if row.get("error"):
        row |= {"output": None, "scores": None}
    return row


def _resolved(value: Any, attachments: Mapping[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith(_ATTACHED):
        return attachments.get(value.removeprefix(_ATTACHED), value)
    if isinstance(value, Mapping):
        return {name: _resolved(inner, attachments) for name, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, attachments) for inner in value]
    return value
