"""A file's bytes as they were meant: decompressed, and decoded as text. Its content decides, never its name."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from keyturn.core.errors import InputError


def _zstd(data: bytes) -> bytes:
    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        return stream.read()


_COMPRESSED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ\x00", lzma.decompress),
)

_MARKS = (
    # UTF-32 first: its mark begins with the one of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed (gzip, zstd, bzip2, xz; several members end to end).

    Raises:
        InputError: it cannot be read, or is cut or damaged.
    """
    try:
        data = path.read_bytes()
        for magic, decompress in _COMPRESSED:
            if data.startswith(magic):
                return decompress(data)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path}: {error}", fix="check that it was copied to its end") from error
    return data


def decode(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 or UTF-32 where a mark or the zeros between the letters say so.

    What is not UTF-8 becomes U+FFFD: a broken byte in one completion must not lose the file.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    head = data[:4]
    if len(head) == 4 and head[1] == 0 and head[0] and head[2] and head[3] == 0:
        return data.decode("utf-16-le", "replace")
    if len(head) == 4 and head[0] == 0 and head[1] and head[2] == 0 and head[3]:
        return data.decode("utf-16-be", "replace")
    return data.decode("utf-8", "replace")
