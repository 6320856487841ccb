"""Exact conversion of numpy arrays and texts to Arrow arrays and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from keyturn.core.errors import StorageError

COLUMN = "column."
"""Prefix of the name of a further column in a table."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""A lone surrogate: Python's text may contain one, UTF-8 cannot."""


def read_parquet(data: bytes) -> pa.Table:
    """A Parquet file's table; its checksums are compared.

    It is read in the calling thread alone. A thread of Arrow's pools may hold the last reference to ``data``;
    if it drops that reference while Python shuts down, the whole process aborts.

    Raises:
        pyarrow.ArrowException, OSError, ValueError: the bytes are damaged or no Parquet.
    """
    opened = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, pre_buffer=False)
    return opened.read(use_threads=False)


def strings(texts: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Texts as UTF-8, and whether a lone surrogate had to be replaced."""
    clean = [SURROGATE.sub("\ufffd", text) for text in texts]
    replaced = [before != after for before, after in zip(texts, clean, strict=True)]
    return pa.array(clean, pa.large_string()), pa.array(replaced, pa.bool_())


def lists(offsets: NDArray[np.int64], values: NDArray) -> pa.Array:
    """One list of values per row."""
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))


def flat(table: pa.Table, name: str, dtype: type) -> tuple[NDArray[np.int64], NDArray]:
    """Offsets and values of a column of lists."""
    column = table.column(name).combine_chunks()
    column = column if isinstance(column, pa.Array) else column.chunk(0)
    offsets = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))])
    values = column.flatten().to_numpy(zero_copy_only=False)
    return offsets.astype(np.int64), np.array(values, dtype=dtype)


def numbers(table: pa.Table, name: str, dtype: type) -> NDArray:
    """A column of numbers, writable."""
    return np.array(table.column(name).to_numpy(), dtype=dtype)


def prefixed(columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Further columns under their names in a table."""
    return {COLUMN + name: column for name, column in columns.items()}


def bare(columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The inverse of :func:`prefixed`."""
    return {name.removeprefix(COLUMN): column for name, column in columns.items()}


def encode(columns: Mapping[str, NDArray]) -> tuple[dict[str, pa.Array], dict[str, str]]:
    """Columns as Arrow arrays, and the numpy type of each, so that it can be restored."""
    arrays: dict[str, pa.Array] = {}
    kinds: dict[str, str] = {}
    for name, column in columns.items():
        values = np.asarray(column)
        if values.ndim != 1:
            raise ValueError(f"column {name!r} has {values.ndim} axes; one entry per row is expected")
        kinds[name] = values.dtype.str if values.dtype != object else "object"
        if values.dtype == object or values.dtype.kind == "U":
            if not all(isinstance(value, str) for value in values):
                raise ValueError(f"column {name!r} holds objects that are not text")
            arrays[name] = strings([str(value) for value in values])[0]
        else:
            arrays[name] = pa.array(values)
    return arrays, kinds


def decode(table: pa.Table, kinds: Mapping[str, str]) -> dict[str, NDArray]:
    """The inverse of :func:`encode`."""
    out: dict[str, NDArray] = {}
    for name in table.column_names:
        kind = kinds[name]
        if kind == "object":
            column = np.empty(table.num_rows, dtype=object)
            column[:] = table.column(name).to_pylist()
            out[name] = column
        else:
            out[name] = np.array(table.column(name).to_numpy(), dtype=np.dtype(kind))
    return out


def stack(folder: Path, parts: Sequence[dict[str, NDArray]]) -> dict[str, NDArray]:
    """The columns of several parts, concatenated."""
    names = list(parts[0])
    if any(set(part) != set(names) for part in parts):
        raise StorageError(f"{folder}: the parts have different columns", fix="grade all of them again")
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
