"""Choose one policy and one grading of it from a file that holds several."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError, UsageError
from keyturn.rollouts.readers.columns import KNOWN, lookup, scalar, spellings
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.values import key_of

POLICY_COLUMNS = (
    "model", "model_name", "model_id", "policy", "checkpoint", "revision", "agent", "filter", "metric",
    "scorer", "step", "global_step", "temperature",
)  # fmt: skip
"""Columns whose different values are different policies or different gradings: one must be chosen."""
RUN_COLUMNS = ("run_name", "run", "run_id", "experiment", "experiment_name")
"""Columns whose different values may be different policies, or separate draws of one policy."""
_NAMES_POLICY = ("model", "model_name", "model_id", "policy", "checkpoint", "agent")
NESTED = (*KNOWN["completion"], "solution")
"""Names of a completion inside a model's own record, in which ``solution`` is not the data set's."""


def choose(
    path: Path, rows: Sequence[Record], select: str, draw: str = ""
) -> tuple[Sequence[Record], str, bool]:
    """The records of one policy, its name, and whether they were records inside records.

    Args:
        path: the file.
        rows: its records.
        select: the user's selection.
        draw: the columns that number the draws according to the user, or ``none``: then all are of one policy,
            whatever the name of their run.

    Raises:
        UsageError: there is no such record or value.
        InputError: there are records of several policies, and none is selected.
    """
    nested = nested_policies(rows)
    if nested:
        chosen = _one_of(path, "records of the models", nested, select)
        return [{**row, **_inner(row, chosen)} for row in rows], chosen, True
    kept, name = rows, ""
    wanted = _wanted(rows, select)
    spelling = spellings(rows)
    for known in (*POLICY_COLUMNS, *RUN_COLUMNS):
        if known not in spelling:
            continue
        column = spelling[known]
        values = list(dict.fromkeys(value for row in kept if (value := _shown(row.get(column)))))
        asked = [one for one in wanted if one in values]
        if asked:
            kept, name = [row for row in kept if _shown(row.get(column)) == asked[0]], name or asked[0]
            wanted.remove(asked[0])
        elif len(values) > 1 and known in RUN_COLUMNS:
            # If nearly every record has another run, the column numbers the records.
            if not (draw or _named(column, wanted) or 2 * len(values) > len(kept)):
                raise _several_runs(path, column, values, spelling)
        elif len(values) > 1 and not _named(column, wanted):
            _one_of(path, f"records of several values of {column!r}:", values, ",".join(wanted))
        elif values and known in _NAMES_POLICY:
            name = name or values[0]
    for one in list(wanted):
        column, sign, value = one.partition("=")
        if sign:
            kept = [row for row in kept if _shown(row.get(column)) == value]
            wanted.remove(one)
            name = name or value
            if not kept:
                raise UsageError(f"{path}: no record has {one}", fix=_values_of(rows, column))
    if wanted:
        raise UsageError(f"{path}: it contains no {wanted[0]!r}", fix=f"leave out #{select}")
    return kept, name, False


def nested_policies(rows: Sequence[Record]) -> list[str]:
    """Names of records inside the records that have their own completion."""
    seen = rows[:50]
    if any(isinstance(lookup(row, name), str | list) for row in seen for name in KNOWN["completion"]):
        return []
    found = dict.fromkeys(
        key
        for row in seen
        for key, value in row.items()
        if isinstance(value, Mapping) and any(isinstance(value.get(name), str) for name in NESTED)
    )
    return list(found)


def _wanted(rows: Sequence[Record], select: str) -> list[str]:
    """The parts of a selection; a comma inside a value does not divide it."""
    if not select:
        return []
    shown = {_shown(value) for row in rows for value in row.values() if scalar(value)}
    return [select] if "," not in select or select in shown else select.split(",")


def _named(column: str, wanted: Sequence[str]) -> bool:
    return any(one.startswith(f"{column}=") for one in wanted)


def _shown(value: Any) -> str:
    return (key_of(value) or "") if scalar(value) else ""


def _values_of(rows: Sequence[Record], column: str) -> str:
    values = list(dict.fromkeys(_shown(row.get(column)) for row in rows if scalar(row.get(column))))
    return f"values of {column!r}: {_some(values)}" if values else f"there is no column {column!r}"


def _several_runs(path: Path, column: str, values: Sequence[str], spelling: Mapping[str, str]) -> InputError:
    number = next((spelling[name] for name in KNOWN["draw"] if name in spelling), "")
    return InputError(
        f"{path} holds records of several values of {column!r}: {_some(values)}",
        fix=f"choose one, e.g. {path.name}#{values[0]}; or, if all drew from one policy:"
        f" --columns.draw {f'{column},{number}' if number else 'none'}",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")


def _one_of(path: Path, what: str, names: Sequence[str], select: str) -> str:
    if select in names:
        return select
    if select:
        close = difflib.get_close_matches(select, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {_some(names)}"
        raise UsageError(f"{path} contains no {select!r}", fix=hint)
    if len(names) == 1:
        return names[0]
    raise InputError(f"{path} holds {what} {_some(names)}", fix=f"choose one, e.g. {path.name}#{names[0]}")


def _inner(row: Record, name: str) -> Record:
    """The part of a record that belongs to one model; empty if that model failed on it."""
    inner = row.get(name)
    return inner if isinstance(inner, Mapping) else {}
