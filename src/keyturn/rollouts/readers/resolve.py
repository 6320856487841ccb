"""Choice of columns: the user's names come first, then known names; if two columns fit, the user is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError, UsageError
from keyturn.rollouts.readers.columns import (
    CELLS,
    KNOWN,
    MISSING,
    Columns,
    lookup,
    near,
    paths,
    spellings,
)
from keyturn.rollouts.readers.messages import as_text, said, written_out
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.values import number_of, whole

JOINED = ("problem", "draw")
"""Purposes that several columns together may serve."""
ROW_NUMBER = "none"
"""Value of ``--columns.draw`` that numbers rows in order."""
_LIKE = 50
"""Number of records that are compared to see whether two columns agree."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The column of each purpose in one file.

    Args:
        names: names by purpose; an empty name means that the file has none.
        given: purposes whose column the user named.
        cells: columns that make the cell of a problem.
        messages: purposes whose column holds chat messages written as text.
        notes: what was ignored, one sentence each.
    """

    names: Mapping[str, str]
    given: frozenset[str]
    cells: tuple[str, ...]
    messages: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def get(self, row: Record, purpose: str) -> Any:
        """The value, or None; a tuple if several columns serve together."""
        name = self.names[purpose]
        if not name:
            return None
        if purpose in JOINED and "," in name:
            values = [lookup(row, part.strip()) for part in name.split(",")]
            return None if any(value is MISSING or value is None for value in values) else tuple(values)
        value = lookup(row, name)
        if value is MISSING:
            return None
        return (written_out(value) or value) if purpose in self.messages else value

    def each(self, row: Record, purpose: str) -> Any:
        """Like :meth:`get`, but with a value for each entry of a list in the column's path (``choices.*``)."""
        before, star, after = self.names[purpose].partition(".*.")
        listed = lookup(row, before) if star else None
        if not isinstance(listed, list):
            return self.get(row, purpose)
        values = [lookup(one, after) for one in listed]
        return [None if value is MISSING else value for value in values]


def resolve(
    path: Path, rows: Sequence[Record], columns: Columns, known: Mapping[str, Sequence[str]]
) -> Resolved:
    """Find the column of each purpose.

    Args:
        path: the file, for messages.
        rows: its records.
        columns: the user's names.
        known: names to try, by purpose.

    Raises:
        UsageError: a named column does not exist.
        InputError: two columns fit but differ.
    """
    spelling = spellings(rows)
    names, claimed = _named(path, rows, columns)
    given = frozenset(names)
    messages: set[str] = set()
    for purpose in (
        "problem",
        "prompt",
        "completion",
        "success",
        "gold",
        "draw",
        "answer",
        "verified",
        "truncated",
    ):
        if purpose in names:
            continue
        there = [
            name
            for candidate in known[purpose]
            for name in paths(rows, candidate, spelling)
            if name not in claimed and _serves(rows, name, purpose)
        ]
        names[purpose] = _PICK.get(purpose, _first)(path, rows, list(dict.fromkeys(there)), columns)
        if names[purpose] and purpose not in ("truncated", "draw"):
            claimed.add(names[purpose])
    for purpose in ("prompt", "completion"):
        if names[purpose] and _written_as_text(rows, names[purpose]):
            messages.add(purpose)
    for name in columns.cells:
        if all(lookup(row, name) is MISSING for row in rows):
            raise UsageError(f"{path}: no column {name!r} for a cell", fix=near(rows, name))
    there = {name for row in rows for name in CELLS if name in row}
    cells = columns.cells or tuple(
        name for name in CELLS if name in there and any(_there(row, name) for row in rows)
    )
    names = _beside_scorer(rows, names, given)
    idle = [spelling[name] for name in known["draw"] if name in spelling and not names["draw"]]
    passed = "draw" not in given and bool(idle)
    notes = (f"{idle[0]!r} does not number every draw: draws are numbered in order",) if passed else ()
    return Resolved(
        names={**dict.fromkeys(KNOWN, ""), **names},
        given=given,
        cells=cells,
        messages=frozenset(messages),
        notes=notes,
    )


def require(path: Path, rows: Sequence[Record], found: Resolved, *, unjudged: bool = False) -> None:
    """Refuse a file that lacks a necessary column.

    Args:
        path, rows, found: the file and its columns.
        unjudged: whether it may lack verdicts and gold answers, which then come from elsewhere.

    Raises:
        InputError: there are neither completions nor verdicts, neither identities nor prompts of problems, or
            neither verdicts nor gold answers.
    """
    if not found.names["completion"] and not found.names["success"]:
        doubtful = next((name for name in ("solution", "Solution") if any(name in row for row in rows)), "")
        hint = (
            f"if {doubtful!r} is the model's and not the data set's: --columns.completion {doubtful}; "
            if doubtful
            else ""
        )
        raise InputError(
            f"{path}: no column with completions", fix=hint + near(rows, *KNOWN["completion"][:2], "output")
        )
    if not found.names["problem"] and not found.names["prompt"]:
        raise InputError(f"{path}: neither problem ids nor prompts", fix=near(rows, "problem_id", "prompt"))
    if not (unjudged or found.names["success"] or found.names["gold"]):
        raise InputError(
            f"{path}: neither verdicts nor gold answers",
            fix="name a column with --columns.success or --columns.gold, or give the problems with --problems; "
            + near(rows, "reward", "answer"),
        )


def _named(path: Path, rows: Sequence[Record], columns: Columns) -> tuple[dict[str, str], set[str]]:
    """The columns that the user named, and all columns that they use."""
    names: dict[str, str] = {}
    claimed: set[str] = set()
    for purpose in KNOWN:
        given = str(getattr(columns, purpose))
        if not given:
            continue
        by_hand = (purpose, given) == ("draw", ROW_NUMBER) and not _has(rows, given)
        if by_hand or (purpose, given) == ("problem", "prompt"):
            names[purpose] = ""  # records are numbered; the prompt is the identity, and remains the prompt
            continue
        parts = [part.strip() for part in given.split(",")] if purpose in JOINED else [given]
        for part in parts:
            if not _has(rows, part):
                raise UsageError(f"{path}: no column {part!r} for the {purpose}", fix=near(rows, part))
        names[purpose] = ",".join(parts)
        claimed |= set(parts) if len(parts) == 1 else set()
    return names, claimed


def _has(rows: Sequence[Record], name: str) -> bool:
    return any(lookup(row, name) is not MISSING for row in rows)


def _there(row: Record, name: str) -> bool:
    value = lookup(row, name)
    return value is not MISSING and value is not None


def _serves(rows: Sequence[Record], name: str, purpose: str) -> bool:
    """Whether a column holds a value for a purpose in any record."""
    values = (value for row in rows if (value := lookup(row, name)) is not MISSING and value is not None)
    if purpose == "completion":
        return any(said(value) is not None for value in values)
    if purpose == "prompt":
        return any(as_text(value) is not None for value in values)
    if purpose == "success":
        return any(not isinstance(value, Mapping | list) or value for value in values)
    if purpose == "draw":
        return _numbers_draws(list(values), len(rows))
    return any(value != "" for value in values)


def _numbers_draws(values: Sequence[Any], rows: int) -> bool:
    """Whether every record has the number of its draw; a fractional epoch does not count."""
    return len(values) == rows and all(whole(value) is not None for value in values)


def _first(path: Path, rows: Sequence[Record], there: Sequence[str], columns: Columns) -> str:
    del path, rows, columns
    return there[0] if there else ""


def _pick_completion(path: Path, rows: Sequence[Record], there: Sequence[str], columns: Columns) -> str:
    """The column of completions; between two columns with different texts the user must choose."""
    del columns
    own = [name for name in there if not name.startswith(("output.", "choices."))] or list(there)
    nested = [name for name in there if name.startswith("output.")]
    if nested:
        own = [nested[0], *(name for name in own if name not in ("output", *nested))]
    for name in own[1:]:
        if any(_texts(row, own[0]) != _texts(row, name) for row in rows[:_LIKE] if _there(row, name)):
            raise InputError(
                f"{path}: {_or(own)} could hold the completions, and they differ",
                fix="name the one that the model wrote: "
                + ", or ".join(f"--columns.completion {other}" for other in own),
            )
    return own[0] if own else ""


def _texts(row: Record, name: str) -> list[str]:
    return [draw.text.strip() for draw in said(lookup(row, name)) or () if draw is not None]


def _pick_success(path: Path, rows: Sequence[Record], there: Sequence[str], columns: Columns) -> str:
    """The column of verdicts. The user must choose among a tool's metrics, and among other columns if they
    disagree.
    """
    metrics = [name for name in _metrics(rows) if _has(rows, name)]
    there = metrics or [name for name in there if not any(other.startswith(f"{name}.") for other in there)]
    there = [part for name in there for part in _inside(rows, name)]
    read = {name: _numbers(rows, name, columns.success_at) for name in there}
    named = [name for name in there if name in metrics or name.startswith(("scores.", "rewards."))]
    if len(named) < 2:
        # A column of rewards is a verdict only with a threshold, so a true verdict is preferred.
        proper = [name for name in there if read[name] and set(read[name].values()) <= {0.0, 1.0}]
        if proper and len(read[proper[0]]) >= max(len(read[name]) for name in there):
            there = proper
    if len(named) > 1 or any(_differ(read[there[0]], read[name]) for name in there[1:]):
        raise _ask_verdict(path, len(rows), there, read)
    return there[0] if there else ""


def _ask_verdict(
    path: Path, rows: int, names: Sequence[str], read: Mapping[str, Mapping[tuple[int, int], float]]
) -> InputError:
    told = ", ".join(f"{name} ({_told(read[name])})" for name in names)
    example = names[0]
    partial = any(v not in (0.0, 1.0) and v == v for v in read[example].values())
    threshold = " --columns.success-at 1" if partial else ""
    return InputError(
        f"{path}: the verdict could be any of {told}; the file has {rows} records",
        fix=f"name one: --columns.success {example}{threshold}",
    )


def _told(numbers: Mapping[tuple[int, int], float]) -> str:
    graded = [value for value in numbers.values() if not math.isnan(value)]
    if not graded:
        return "no numbers"
    if any(value not in (0.0, 1.0) for value in graded):
        return f"{len(graded)} from {min(graded):g} to {max(graded):g}"
    return f"{sum(graded):g} of {len(graded)} right"


def _differ(first: Mapping[tuple[int, int], float], second: Mapping[tuple[int, int], float]) -> bool:
    return first.keys() != second.keys() or any(first[key] != second[key] for key in first)


def _metrics(rows: Sequence[Record]) -> list[str]:
    """Names of the metrics, if records list them as lm-eval's do."""
    listed = [row.get("metrics") for row in rows[:_LIKE]]
    names = [name for one in listed if isinstance(one, list) for name in one if isinstance(name, str)]
    return list(dict.fromkeys(names))


def _inside(rows: Sequence[Record], name: str) -> list[str]:
    """A column, or its parts if a scorer gives several named values."""
    values = [value for row in rows if isinstance(value := lookup(row, name), Mapping)]
    keys = dict.fromkeys(str(key) for value in values for key in value)
    if not keys:
        return [name]
    return [f"{name}.value"] if "value" in keys else [f"{name}.{key}" for key in keys]


def _numbers(rows: Sequence[Record], name: str, success_at: float) -> dict[tuple[int, int], float]:
    """The existing verdicts of a column by record and draw."""
    found: dict[tuple[int, int], float] = {}
    for place, row in enumerate(rows):
        value = lookup(row, name)
        many = value if isinstance(value, list | tuple) else [value]
        for draw, one in enumerate(many):
            number = None if one is MISSING else number_of(one)
            if number is not None and not math.isnan(number):
                found[place, draw] = number if math.isnan(success_at) else float(number >= success_at)
    return found


_PICK = {"completion": _pick_completion, "success": _pick_success}


def _written_as_text(rows: Sequence[Record], name: str) -> bool:
    """Whether every text of a column is a list of chat messages written out."""
    values = [value for row in rows[:_LIKE] if isinstance(value := lookup(row, name), str)]
    return bool(values) and all(written_out(value) is not None for value in values)


def _beside_scorer(rows: Sequence[Record], names: dict[str, str], given: frozenset[str]) -> dict[str, str]:
    """The column of the answer that the chosen scorer extracted, if scorers store it."""
    scorer, _, last = names["success"].rpartition(".value")
    beside = f"{scorer}.answer" if scorer and not last else ""
    found = "answer" not in given and any(_there(row, beside) for row in rows if beside)
    return {**names, "answer": beside} if found else names


def _or(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1] if len(names) > 1 else names[0]
