"""The content of a file, decompressed and decoded as text. The content decides how, never the name."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from keyturn.core.errors import InputError

LARGEST = 4 << 30
"""Maximum number of bytes to which a compressed file may unpack, since a few thousand can unpack to any
size."""
_PIECE = 1 << 24


def zstd(data: bytes) -> Any:
    """A stream over Zstandard's bytes."""
    return pa.input_stream(pa.BufferReader(data), compression="zstd")


def _xz(data: bytes) -> Any:
    return lzma.open(io.BytesIO(data))


_COMPRESSED: tuple[tuple[bytes, Callable[[bytes], Any]], ...] = (
    (b"\x1f\x8b", lambda data: gzip.GzipFile(fileobj=io.BytesIO(data))),
    (b"\x28\xb5\x2f\xfd", zstd),
    (b"BZh", lambda data: bz2.BZ2File(io.BytesIO(data))),
    (b"\xfd7zXZ\x00", _xz),
)

_LAYERS = 3
"""How often a file may have been compressed: servers compress files that are compressed already."""

_MARKS = (
    # UTF-32 first: its mark begins with the one of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def unpacked(path: Path, stream: Any, room: int) -> bytes:
    """All bytes of a stream.

    Args:
        path: the file, for the message.
        stream: the stream, which is read and closed.
        room: maximum number of bytes.

    Raises:
        InputError: it holds more.
    """
    pieces, size = [], 0
    with stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > room:
                raise InputError(
                    f"{path} unpacks to more than {LARGEST / 2**30:g} GiB",
                    fix="unpack it, and give a part of it",
                )
            pieces.append(piece)
    return b"".join(pieces)


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed (gzip, zstd, bzip2, xz; also several concatenated members).

    Raises:
        InputError: it cannot be read, is cut or damaged, or unpacks to more than :data:`LARGEST`.
    """
    try:
        data = path.read_bytes()
        for _ in range(_LAYERS):
            opened = next((opened for magic, opened in _COMPRESSED if data.startswith(magic)), None)
            if opened is None:
                break
            data = unpacked(path, opened(data), LARGEST)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {error}", fix="check that it was copied completely") from error
    return data


def decode(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    """Text in UTF-8, or in UTF-16 or UTF-32 if a mark or zeros between the letters show it; and notes.

    A broken byte in one completion must not lose the file: it becomes U+FFFD, and a note says where. A file in
    another encoding is refused, since different letters would become equal, and so would different answers.

    Raises:
        InputError: most of the non-ASCII bytes are not UTF-8.
    """
    encoding, skipped = _encoding(data)
    try:
        return data[skipped:].decode(encoding), ()
    except UnicodeDecodeError as error:
        first = error
    text = data[skipped:].decode(encoding, "replace")
    broken = text.count("\ufffd") - data.count("\ufffd".encode(encoding))
    line = data[skipped : skipped + first.start].decode(encoding, "replace").count("\n") + 1
    whole = sum(letter > "\x7f" for letter in text) - text.count("\ufffd")
    if broken > max(whole, 1):
        byte = data[skipped + first.start]
        raise InputError(
            f"{path}, line {line}: not {encoding.upper()} (byte 0x{byte:02X}), and {broken} such places in all",
            fix=f"convert it from its encoding, e.g. iconv -f WINDOWS-1252 -t UTF-8 {path.name} > NEW",
        )
    places = "1 place is" if broken == 1 else f"{broken} places are"
    return text, (f"{places} not {encoding.upper()} and read as U+FFFD, the first in line {line}",)


def _encoding(data: bytes) -> tuple[str, int]:
    """The encoding of a text, and the length of its mark."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding, len(mark)
    head = data[:4]
    if len(head) == 4 and head[1] == 0 and head[0] and head[2] and head[3] == 0:
        return "utf-16-le", 0
    if len(head) == 4 and head[0] == 0 and head[1] and head[2] == 0 and head[3]:
        return "utf-16-be", 0
    return "utf-8", 0
