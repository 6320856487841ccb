"""Counts ``{id, c, n}`` as a sample file: of n draws of a problem, c were right. There is no text and no order.

Measures read one row per draw, and some split a problem's draws into two halves. So the verdicts of each
problem are put into a random order, which is the same whenever the file is read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.streams import Streams
from keyturn.rollouts.readers.columns import KNOWN, MISSING, Columns, lookup, near, spelled, spellings
from keyturn.rollouts.readers.messages import said
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.values import key_of, number_of, whole

_ALSO_RIGHT = ("correct", "passed", "success", "right", "solved")
"""Names of verdicts that are counts where a number of draws stands beside them."""
_RATES = ("pass@1", "pass_rate", "success_rate", "solve_rate", "accuracy", "acc", "mean_reward", "avg_reward")
"""Names of shares of right draws, which are counts where a number of draws stands beside them."""
LARGEST = 10_000_000
"""Draws in a file of counts: each becomes a row."""


@dataclass(frozen=True, kw_only=True)
class CountColumns:
    """The two columns of a file of counts."""

    right: str
    drawn: str
    rate: bool = False
    """Whether ``right`` holds shares of draws and not numbers of draws."""

    def of(self, row: Record) -> tuple[int, int] | None:
        """Numbers of right draws and of draws in one record; None if they are not counts."""
        right, n = lookup(row, self.right), whole(lookup(row, self.drawn))
        c = whole(_times(right, n)) if self.rate and n is not None else whole(right)
        return (c, n) if c is not None and n is not None and c <= n else None


def count_columns(path: Path, rows: Sequence[Record], columns: Columns) -> CountColumns | None:
    """The columns of counts; None if a file holds none.

    A file holds counts if the user says so. It also does if it has no completions and no problem twice, and
    each record has two whole numbers with known names, of which one is never greater than the other.

    Raises:
        UsageError: only one of the two columns is named, or a named one does not exist.
    """
    given = {"right": columns.right, "drawn": columns.drawn}
    for name in filter(None, given.values()):
        if all(lookup(row, name) is MISSING for row in rows):
            raise UsageError(f"{path}: no column {name!r} for counts", fix=near(rows, name))
    asked = any(given.values())
    if columns.completion or (columns.success and not asked):
        return None
    spelling = spellings(rows)
    if not asked and any(
        said(row.get(spelling.get(name, name))) for row in rows[:20] for name in KNOWN["completion"]
    ):
        return None
    names = {
        purpose: [given[purpose]] if given[purpose] else [spelling[name] for name in known if name in spelling]
        for purpose, known in (("right", (*KNOWN["right"], *_ALSO_RIGHT, *_RATES)), ("drawn", KNOWN["drawn"]))
    }
    for drawn in names["drawn"]:
        for right in names["right"]:
            counted = CountColumns(right=right, drawn=drawn, rate=_is_rate(rows, right))
            if asked or _are_counts(rows, counted):
                return counted
    if asked:
        lacking = "drawn" if not names["drawn"] else "right"
        raise UsageError(
            f"{path}: no column of counts for {lacking}", fix=f"--columns.{lacking} NAME; {near(rows)}"
        )
    return None


def refuse_counts(path: Path, rows: Sequence[Record]) -> None:
    """Refuse a file whose columns have the names of counts, but whose records are not counts.

    Args:
        path: the file.
        rows: its records, in which neither completions nor verdicts were found.

    Raises:
        InputError: a record holds no counts, or a problem occurs twice.
    """
    spelling = spellings(rows)
    right, drawn = (
        next((spelling[name] for name in KNOWN[purpose] if name in spelling), "")
        for purpose in ("right", "drawn")
    )
    if not right or not drawn:
        return
    _pairs(path, rows, CountColumns(right=right, drawn=drawn, rate=_is_rate(rows, right)))
    _refuse_repeated(path, _ids(rows))


def _is_rate(rows: Sequence[Record], right: str) -> bool:
    """Whether a column holds shares: by its name, or because one of its values is a fraction."""
    if spelled(right) in _RATES:
        return True
    values = [number_of(lookup(row, right)) for row in rows if lookup(row, right) is not MISSING]
    known = [value for value in values if value is not None]
    return any(0 < value < 1 for value in known) and max(known) <= 1


def _times(share: Any, n: int) -> float | None:
    """The number of draws, of n, that a share means; None if it is not a whole number up to rounding."""
    number = number_of(share)
    if number is None or not math.isfinite(number):
        return None
    # A share written with four digits is off by up to 5e-5.
    return round(number * n) if abs(number * n - round(number * n)) <= max(1e-6, 6e-5 * n) else None


def _are_counts(rows: Sequence[Record], counted: CountColumns) -> bool:
    if counted.right == counted.drawn or any(counted.of(row) is None for row in rows):
        return False
    # A verdict of 0 or 1 together with the size of its group is a draw; then its problem occurs again.
    return Counter(_ids(rows)).most_common(1)[0][1] == 1


def _ids(rows: Sequence[Record]) -> list[str]:
    """The identity of each record's problem, before the columns are resolved."""
    ids = [name for name in KNOWN["problem"] if name in rows[0]]
    return [str(row.get(ids[0] if ids else "prompt")) for row in rows]


def _refuse_repeated(path: Path, keys: Sequence[str]) -> None:
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise InputError(
            f"{path}: {len(twice)} problems have several counts ({twice[0][:80]!r})",
            fix="choose one policy, or name what identifies a problem, e.g. --columns.problem task,id",
        )


def _pairs(path: Path, rows: Sequence[Record], found: CountColumns) -> list[tuple[int, int]]:
    """Numbers of right draws and of draws in every record."""
    pairs = []
    for number, row in enumerate(rows, start=1):
        counts = found.of(row)
        if counts is None:
            shown = f"{found.right} {_shown(row, found.right)}, {found.drawn} {_shown(row, found.drawn)}"
            raise InputError(
                f"{path}, record {number}: {shown} are not counts of right draws and of all draws",
                fix=f"correct the record ({found.right} is at most {found.drawn}), or name the columns with"
                " --columns.right and --columns.drawn",
            )
        pairs.append(counts)
    return pairs


def read_counts(
    path: Path, rows: Sequence[Record], found: CountColumns, keys: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """One row per draw: its record and its verdict.

    Returns:
        Records, int64 ``[row]``, and verdicts in random order within a problem, float32 ``[row]``.

    Raises:
        InputError: numbers are not whole, there are more right draws than draws, a problem occurs twice, or
        there
            are more draws than can be stored.
    """
    _refuse_repeated(path, keys)
    pairs = _pairs(path, rows, found)
    total = sum(n for _, n in pairs)
    if total > LARGEST:
        raise InputError(
            f"{path}: {total} draws are counted, but at most {LARGEST} can be stored", fix="give fewer problems"
        )
    verdicts = [_shuffled(c, n, key) for (c, n), key in zip(pairs, keys, strict=True)]
    record = np.repeat(np.arange(len(rows)), [n for _, n in pairs])
    return record, np.concatenate(verdicts).astype(np.float32)


def _shuffled(c: int, n: int, key: str) -> NDArray[np.bool_]:
    return Streams(0).generator("counts", ascii(key)).permutation(np.arange(n) < c)


def _shown(row: Mapping[str, object], name: str) -> str:
    value = lookup(row, name)
    return "missing" if value is MISSING else str(key_of(value))[:40]
