"""Records from memory: a data frame, a list of records, counts, or verdicts.

Objects of a Python program become the records that a file of the same content would give, so everything after
the readers is the same. A data frame is recognised by its methods; neither pandas nor polars is imported here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.core.errors import InputError
from keyturn.rollouts.readers.records import Record, Records

TABLES = ("to_pylist", "to_dicts", "to_list")
"""Methods that give a list of records: of pyarrow's tables, polars' frames and Hugging Face data sets."""

COUNTS = "{problem: (right, drawn)} with whole numbers, or {problem: [True, False, ...]}"
"""The forms of counts and verdicts, for messages."""


def records_in(value: Any, name: str) -> Records | None:
    """The records that a value holds.

    Args:
        value: a pandas or polars data frame, a pyarrow table, a Hugging Face data set; a list of mappings, one
            for each draw (or for each problem, with counts); a mapping ``{problem: (right, drawn)}`` of counts
            or ``{problem: [True, False, ...]}`` of verdicts; a list of such pairs or lists, or an array of
            counts ``[problem, 2]`` (whole numbers) or verdicts ``[problem, draw]`` (truth values, or floats
            where NaN is ungraded), whose problems are numbered in order.
        name: its name in messages.

    Returns:
        The records; None if the value is none of these.

    Raises:
        InputError: a table has no rows or two columns of one name, or pairs are not counts.
    """
    rows = _rows_of(value, name)
    if rows is None:
        return None
    if not rows:
        raise InputError(f"{name} holds no records", fix="give at least one")
    return Records(path=Path(name), rows=rows)


def is_table(value: Any) -> bool:
    """Whether a value looks like one that :func:`records_in` reads, without reading it."""
    if isinstance(value, str | bytes | Path):
        return False
    if isinstance(value, Mapping | Sequence | np.ndarray) or _is_pandas(value):
        return True
    return any(hasattr(value, method) for method in TABLES)


def _rows_of(value: Any, name: str) -> list[Record] | None:
    if isinstance(value, str | bytes | Path):
        return None
    if _is_pandas(value):
        return _frame(value, name)
    if isinstance(value, np.ndarray):
        return _numbered(_array(value, name), name)
    if isinstance(value, Mapping):
        return _by_problem(value, name)
    for method in TABLES:
        if hasattr(value, method):
            rows = getattr(value, method)()
            return [_record(row) for row in rows] if all(isinstance(row, Mapping) for row in rows) else None
    if not isinstance(value, Sequence):
        return None
    listed = list(value)
    if all(isinstance(row, Mapping) for row in listed):
        return [_record(row) for row in listed]
    if all(isinstance(row, Sequence | np.ndarray) and not isinstance(row, str | bytes) for row in listed):
        return _numbered(listed, name)
    return None


def _is_pandas(value: Any) -> bool:
    return hasattr(value, "columns") and hasattr(value, "to_dict") and hasattr(value, "index")


def _frame(frame: Any, name: str) -> list[Record]:
    """The rows of a data frame; an index that has a name is a column."""
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    names = [".".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in frame.columns]
    twice = [column for column, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(f"{name} has two columns {twice[0]!r}", fix="rename one of them, or leave it out")
    columns = [[_plain(item) for item in frame.iloc[:, place].tolist()] for place in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _record(row: Mapping[Any, Any]) -> Record:
    return {str(key): _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    """A value in JSON's types: numpy's scalars and arrays become Python's, missing values None."""
    if isinstance(value, str | bool | int | type(None)):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Mapping):
        return _record(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    # Missing values of pandas are neither equal to themselves nor true nor false.
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _array(array: np.ndarray, name: str) -> Sequence[Any]:
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not array.size:
        shape = " x ".join(map(str, array.shape))
        raise InputError(
            f"{name} is an array of {array.dtype}, {shape}",
            fix="counts [problem, 2] in whole numbers, or verdicts [problem, draw] in truth values",
        )
    if array.dtype.kind in "iu" and array.shape[1] != 2:
        raise InputError(
            f"{name} has {array.shape[1]} whole numbers per problem, which are neither counts nor verdicts",
            fix="two for counts (right, drawn), or verdicts as truth values: array.astype(bool)",
        )
    if array.dtype.kind != "f":
        return array.tolist()
    if not np.isin(array[np.isfinite(array)], (0.0, 1.0)).all():
        raise InputError(f"{name} has verdicts other than 0 and 1", fix="1 right, 0 wrong, NaN ungraded")
    return [[None if item != item else bool(item) for item in row] for row in array.tolist()]


def _numbered(rows: Sequence[Any], name: str) -> list[Record]:
    return _by_problem({f"{place:06d}": row for place, row in enumerate(rows)}, name)


def _by_problem(found: Mapping[Any, Any], name: str) -> list[Record]:
    """Counts become one record per problem, verdicts one record per draw."""
    plain = {str(key): _plain(value) for key, value in found.items()}
    if len(plain) < len(found):
        raise InputError(f"{name} has one problem under two keys", fix="give every problem one key")
    if plain and all(map(_are_verdicts, plain.values())):
        return [{"problem_id": key, "success": item} for key, row in plain.items() for item in row]
    odd = [(key, value) for key, value in plain.items() if not _are_counts(value)]
    if odd:
        shown = f"{odd[0][0]!r}: {odd[0][1]!r}"[:80]
        raise InputError(f"{name}: {shown} is neither counts nor verdicts", fix=COUNTS)
    return [{"id": key, "c": pair[0], "n": pair[1]} for key, pair in plain.items()]


def _are_verdicts(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, bool | type(None)) for item in value)
    )


def _are_counts(value: Any) -> bool:
    """Whether these are a pair of whole numbers; truth values do not count as numbers."""
    return isinstance(value, list) and len(value) == 2 and all(type(item) is int for item in value)
