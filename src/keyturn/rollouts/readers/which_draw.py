"""Identity of draws: unique numbers within a problem, repeated records, several gradings of one draw."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError
from keyturn.rollouts.readers.columns import KNOWN, lookup, scalar_columns
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.resolve import Resolved
from keyturn.rollouts.readers.rows import RowsRead, in_order
from keyturn.rollouts.readers.values import whole

WORKERS = (
    "rank", "worker", "worker_id", "process", "shard", "gpu", "replica", "seed", "batch", "chunk", "iteration",
)  # fmt: skip
"""Columns that name a separate source of draws, in which numbers of draws may start again."""
_NOISE = 0.05
"""Share of records with the rarer verdict up to which a judge counts as inconsistent."""


def number_draws(
    path: Path, rows: Sequence[Record], drawn: RowsRead, keys: Sequence[str], found: Resolved
) -> list[str]:
    """Replace numbers of draws by ones that are unique within a problem.

    Args:
        path: the file, for messages.
        rows: its records.
        drawn: its draws; ``number`` is replaced.
        keys: the problem of each row.
        found: its columns.

    Returns:
        Notes, one sentence each.

    Raises:
        InputError: a named column does not number draws, or different records have the same draw.
    """
    column, given = found.names["draw"], "draw" in found.given
    numbers = [number if isinstance(number, tuple) else whole(number) for number in drawn.number]
    if given and column and None in numbers:
        bad = numbers.index(None)
        raise InputError(
            f"{path}, record {drawn.record[bad] + 1}: {str(drawn.number[bad])[:40]!r} is not a draw's number",
            fix="name another column: --columns.draw NAME; or count the records: --columns.draw none",
        )
    times = Counter(zip(keys, map(str, numbers), strict=True))
    unique = len(times) == len(keys)
    # A number that never changes does not number draws.
    counted = column and None not in numbers and (given or len(set(numbers)) > 1)
    drawn.number = numbers if counted and unique and "," not in column else in_order(keys)
    if not counted or unique:
        return []
    for name in () if given else WORKERS:
        own = [str(lookup(rows[place], name)) for place in drawn.record]
        if len(set(zip(keys, map(str, numbers), own, strict=True))) == len(keys):
            return [f"{column!r} starts again for every {name!r}, so the draws are numbered in order"]
    pairs = [(key, str(number)) for key, number in zip(keys, numbers, strict=True)]
    raise _drawn_twice(path, rows, drawn, pairs, found)


def _drawn_twice(
    path: Path, rows: Sequence[Record], drawn: RowsRead, pairs: Sequence[tuple[str, str]], found: Resolved
) -> InputError:
    """The error, with the columns that distinguish records with the same draw."""
    times = Counter(pairs)
    places = [row for row, pair in enumerate(pairs) if times[pair] > 1]
    column, used = found.names["draw"], set(found.names.values())
    telling = telling_columns([rows[drawn.record[row]] for row in places], [pairs[row] for row in places])
    telling = [name for name in telling if name not in used]
    ways = [f"--columns.draw {name},{column}, if each {name!r} drew separately" for name in telling[:2]]
    ways.append("--columns.draw none, if every record is a separate draw")
    differ = f" and differ in {', '.join(telling[:6])}" if telling else ""
    key, number = pairs[places[0]]
    return InputError(
        f"{path}: draw {number} of problem {key[:80]!r} occurs twice;"
        f" {len(places)} of {len(pairs)} records share their draw with another{differ}",
        fix="; or ".join(ways),
    )


def telling_columns(rows: Sequence[Record], groups: Sequence[Any]) -> list[str]:
    """Short columns whose value differs between records of one group, in every group."""
    names = []
    for name in scalar_columns(rows):
        seen: dict[Any, set[str]] = defaultdict(set)
        for row, group in zip(rows, groups, strict=True):
            seen[group].add(str(row[name]))
        if seen and all(len(values) > 1 for values in seen.values()):
            names.append(name)
    return names


def repeated(rows: Sequence[Record], drawn: RowsRead, keys: Sequence[str], found: Resolved) -> list[int]:
    """Rows that are identical to an earlier record, with the same draw, as in a file that was appended
    twice."""
    if not found.names["draw"]:
        return []
    numbers = [str(number) for number in drawn.number]
    pairs = Counter(zip(keys, numbers, strict=True))
    seen: set[tuple[str, str, str]] = set()
    again = []
    for row, (key, number) in enumerate(zip(keys, numbers, strict=True)):
        if pairs[key, number] < 2 or drawn.number[row] is None:
            continue
        mark = (key, number, json.dumps(rows[drawn.record[row]], default=str, sort_keys=True))
        if mark in seen:
            again.append(row)
        seen.add(mark)
    return again


def refuse_two_verdicts(
    path: Path, rows: Sequence[Record], drawn: RowsRead, keys: Sequence[str], found: Resolved
) -> None:
    """Refuse records that are identical except for their verdicts: several gradings of the same draws.

    This is assumed if every record occurs twice (or three times...), and more than one in twenty with another
    verdict. Short answers recur too, and a judge may be inconsistent, but not so evenly.

    Raises:
        InputError: the file holds several gradings.
    """
    if not found.names["completion"] or ("draw" in found.given and not found.names["draw"]):
        return  # without texts nothing can be decided, and numbering records in order means that all are draws
    if len(set(drawn.texts)) == 1:
        return  # a single text in the whole file is a placeholder for completions
    said: dict[tuple[str, str], float] = {}
    graded = [one for one in zip(keys, drawn.texts, drawn.success, strict=True) if not math.isnan(one[2])]
    if all(said.setdefault((key, text), verdict) == verdict for key, text, verdict in graded):
        return  # the common case, and quick
    aside = {found.names["success"].split(".")[0], *KNOWN["success"]}
    groups: dict[str, list[float]] = defaultdict(list)
    for place, key, text, verdict in zip(drawn.record, keys, drawn.texts, drawn.success, strict=True):
        if not math.isnan(verdict):
            kept = {name: value for name, value in rows[place].items() if name not in aside}
            groups[json.dumps([key, text, kept], default=str, sort_keys=True)].append(verdict)
    gradings = math.gcd(*(len(verdicts) for verdicts in groups.values()))
    rarer = sum(min(sum(verdicts), len(verdicts) - sum(verdicts)) for verdicts in groups.values())
    if gradings > 1 and rarer > _NOISE * len(keys):
        raise InputError(
            f"{path}: every record occurs {gradings} times, and {rarer:g} of {len(keys)} with another verdict"
            f" in {found.names['success']!r}: the same draws, graded in several ways",
            fix="keep the records of one grading; if the model wrote another column: --columns.completion NAME;"
            " if each is a draw and the judge is inconsistent: --columns.draw none",
        )
