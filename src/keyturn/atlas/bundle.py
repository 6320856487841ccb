"""A bundle: records of evidence in one ZIP file, to be given to somebody else.

    manifest.json              what is inside, with the sha256 of every file, and from whom
    records.jsonl              the records, one a line, each with the hash of its text
    runs/DIGEST/config.json    what was run: claim, base, seed, profile, setting
    runs/DIGEST/environment.json
    runs/DIGEST/contrasts.json
    runs/DIGEST/rows.json
    draws/DIGEST/...           draws to be graded again, where asked for: see :mod:`keyturn.atlas.draws`
    ro-crate-metadata.json     the same as an RO-Crate, for other tools

The same records make the same bytes: order, times and storage are fixed, and nothing is compressed, since what
compresses is not the same in every version of it. Nothing is unpacked to a disk: members are read one by one,
up to the size that they declare, and a bundle that declares too much, names what is outside, holds links or
what nobody knows is refused with one line.

A hash proves that nothing was changed by accident, not that it is true.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyturn.atlas.crate import crate
from keyturn.atlas.evidence import Evidence, Origin, digest_of
from keyturn.atlas.store import inside, line_of, parsed
from keyturn.core.errors import InputError, UsageError
from keyturn.core.rundir import check_schema, write_bytes

BUNDLE_SCHEMA = 1
MOST_FILES = 20_000
MOST_BYTES = 1 << 30
"""Of everything in a bundle, as it lies unpacked."""
LARGEST_TEXT = 1 << 28
"""Bytes of a file of JSON."""
_KNOWN = re.compile(
    r"manifest\.json|records\.jsonl|ro-crate-metadata\.json"
    r"|runs/[0-9a-f]{32}/(config|environment|contrasts|rows)\.json"
    r"|draws/[0-9a-f]{32}/(draws\.json|asked-\d{2}\.json"
    r"|\d{3}/(completions-00000|completions-00000\.prompts|grades-00000)\.parquet)"
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AGAIN = "ask its maker for the file again"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What a bundle holds.

    Args:
        whom: who made it, in the maker's own words; empty where it does not say.
        records: each with the files behind it.
        behind: digest -> ``setting``, ``contrasts`` and ``rows``, where they are inside.
        draws: digest -> path below its folder of draws -> bytes.
    """

    whom: str
    records: tuple[Evidence, ...]
    behind: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    draws: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)


def write_bundle(bundle: Bundle, path: Path) -> Path:
    """Write a bundle, whole or not at all; the same records make the same bytes.

    Raises:
        UsageError: it would be larger than a bundle may be.
    """
    size = sum(len(data) for files in bundle.draws.values() for data in files.values())
    if size > MOST_BYTES // 2:
        raise UsageError(
            f"the draws take {size / 1e9:.1f} GB, and a bundle may hold {MOST_BYTES / 2e9:.1f}",
            fix="export fewer claims at a time, or leave --draws out",
        )
    write_bytes(path, bundle_bytes(bundle))
    return path


def bundle_bytes(bundle: Bundle) -> bytes:
    """The bytes of a bundle."""
    files = _files(bundle)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda name: (name != "manifest.json", name)):
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, files[name])
    return stream.getvalue()


def _files(bundle: Bundle) -> dict[str, bytes]:
    """Name -> content of every file of a bundle."""
    records = {one.digest: one for one in bundle.records}
    ordered = sorted(records.values(), key=lambda one: (one.claim, one.digest))
    files = {"records.jsonl": "".join(json.dumps(line_of(one)) + "\n" for one in ordered).encode()}
    for one in ordered:
        found, place = bundle.behind.get(one.digest, {}), f"runs/{one.digest}"
        names = ("claim", "version", "claim_hash", "base", "base_name", "tuned", "problems", "seed", "profile")
        config = {name: getattr(one, name) for name in names} | {"setting": found.get("setting", "")}
        files[f"{place}/config.json"] = _json(config)
        files[f"{place}/environment.json"] = _json(dict(one.environment))
        for part in ("contrasts", "rows"):
            if found.get(part):
                files[f"{place}/{part}.json"] = _json(found[part], sort=False)  # columns keep their order
        for name, data in bundle.draws.get(one.digest, {}).items():
            files[f"draws/{one.digest}/{name}"] = data
    files["ro-crate-metadata.json"] = _json(crate(ordered, dict(sorted(files.items())), bundle.whom))
    listed = {name: {"sha256": _sha(data), "bytes": len(data)} for name, data in sorted(files.items())}
    manifest = {"schema": BUNDLE_SCHEMA, "kind": "keyturn evidence", "from": bundle.whom, "files": listed}
    return {**files, "manifest.json": _json(manifest)}


def _json(document: Any, *, sort: bool = True) -> bytes:
    return (json.dumps(document, sort_keys=sort, indent=1, allow_nan=False) + "\n").encode()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check it whole, before anything is made of it.

    Raises:
        InputError: it is no bundle, unsafe, damaged or edited, or a record in it cannot be; one line says what.
        NewerError: a newer keyturn wrote it.
    """
    try:
        data = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_BYTES else None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", fix="name a file that can be read") from error
    if data is None:
        what = "larger than a bundle may be" if path.is_file() else "no file"
        raise InputError(f"{path} is {what}", fix="name a bundle, as `keyturn evidence export` writes it")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _bundle(
                path, {member.filename: _read(path, archive, member) for member in _members(path, archive)}
            )
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise InputError(f"{path} is no sound ZIP file: {said}", fix=_AGAIN) from error


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """The members, each of which is a plain file of a known name and of a size that can be.

    Raises:
        InputError: one is not.
    """
    members = archive.infolist()
    if len(members) > MOST_FILES:
        raise InputError(f"{path} holds {len(members)} files, more than {MOST_FILES}", fix=_AGAIN)
    size, seen = 0, set()
    for member in members:
        shown = repr(member.filename)[:80]
        if not inside(member.filename):
            raise InputError(f"{path}: {shown} would lie outside of the bundle", fix=f"delete it; {_AGAIN}")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{path}: {shown} is a link or a folder, not a plain file", fix=_AGAIN)
        if not _KNOWN.fullmatch(member.filename):
            raise InputError(f"{path}: {shown} is no file of a bundle", fix=_AGAIN)
        if member.filename in seen:
            raise InputError(f"{path}: {shown} stands in it twice", fix=_AGAIN)
        if member.flag_bits & 1:
            raise InputError(f"{path}: {shown} is encrypted", fix=_AGAIN)
        seen.add(member.filename)
        size += member.file_size
        largest = MOST_BYTES if member.filename.endswith(".parquet") else LARGEST_TEXT
        if member.file_size > largest or size > MOST_BYTES:
            raise InputError(
                f"{path}: {shown} makes it {size / 1e9:.1f} GB unpacked, more than a bundle may be", fix=_AGAIN
            )
    yield from members


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member: never more than it declared.

    Raises:
        InputError: there is more or less.
    """
    with archive.open(member) as stream:
        data = stream.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise InputError(f"{path}: {member.filename} is not of the size that it declares", fix=_AGAIN)
    return data


def _bundle(path: Path, files: Mapping[str, bytes]) -> Bundle:
    """The bundle in a set of files.

    Raises:
        InputError: a file is missing, was changed, or is not what it must be.
        NewerError: a newer keyturn wrote it.
    """
    if "manifest.json" not in files or "records.jsonl" not in files:
        raise InputError(f"{path} is no bundle of evidence", fix="`keyturn evidence export` writes one")
    manifest = _document(path, "manifest.json", files["manifest.json"])
    if manifest.get("kind") != "keyturn evidence":
        raise InputError(f"{path} is no bundle of evidence", fix="`keyturn evidence export` writes one")
    check_schema(manifest, str(path), _AGAIN, newest=BUNDLE_SCHEMA)
    listed, whom = manifest.get("files"), manifest.get("from", "")
    if not isinstance(listed, dict) or not isinstance(whom, str):
        raise InputError(f"{path}: its manifest does not say what is inside", fix=_AGAIN)
    for name in sorted(listed.keys() ^ (files.keys() - {"manifest.json"})):
        what = "is listed and missing" if name in listed else "is not in its manifest"
        raise InputError(f"{path}: {name!r:.80} {what}", fix=_AGAIN)
    for name, said in listed.items():
        if not isinstance(said, dict) or said.get("sha256") != _sha(files[name]):
            raise InputError(f"{path}: {name} was changed after the bundle was made", fix=_AGAIN)
    records = tuple(_records(path, files["records.jsonl"]))
    known = {one.digest for one in records}
    for name in files:
        digest = name.split("/")[1] if "/" in name else ""
        if digest and digest not in known:
            raise InputError(f"{path}: {name} belongs to no record in it", fix=_AGAIN)
    return Bundle(
        whom=whom,
        records=records,
        behind={digest: _behind(path, files, digest) for digest in known},
        draws={digest: found for digest in known if (found := _below(files, f"draws/{digest}/"))},
    )


def _records(path: Path, data: bytes) -> Iterator[Evidence]:
    """The records of a bundle, each checked.

    Raises:
        InputError: one was edited, or says what cannot be.
    """
    for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
        where = f"{path}, records.jsonl line {number}"
        row = _document(path, f"records.jsonl line {number}", line.encode())
        digest = row.pop("digest", None)
        one = parsed(row, where, Origin(kind="imported"))
        if digest != one.digest:
            raise InputError(f"{where}: the record was edited after it was written", fix=_AGAIN)
        yield one


def _document(path: Path, name: str, data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {name} is no JSON", fix=_AGAIN) from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: {name} is no JSON object", fix=_AGAIN)
    return found


def _behind(path: Path, files: Mapping[str, bytes], digest: str) -> dict[str, Any]:
    """Setting, contrasts and rows of a record, as far as they are inside.

    Raises:
        InputError: a file is not what it must be.
    """
    own = _below(files, f"runs/{digest}/")
    setting = (
        _document(path, "config.json", own["config.json"]).get("setting", "") if "config.json" in own else ""
    )
    out: dict[str, Any] = {"setting": setting if isinstance(setting, str) else ""}
    for part in ("contrasts", "rows"):
        lines = _document(path, part, b'{"lines":' + own.get(f"{part}.json", b"[]") + b"}")["lines"]
        if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
            raise InputError(f"{path}: runs/{digest}/{part}.json is no list of lines", fix=_AGAIN)
        out[part] = lines
    return out


def _below(files: Mapping[str, bytes], place: str) -> dict[str, bytes]:
    return {name.removeprefix(place): data for name, data in files.items() if name.startswith(place)}


def bundle_hash(bundle: Bundle) -> str:
    """Eight digits that name a bundle by what it holds, whoever it is from."""
    return digest_of("".join(sorted(one.digest for one in bundle.records)))[:8]
