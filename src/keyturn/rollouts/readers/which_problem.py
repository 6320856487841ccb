"""Identities of problems, checked against prompts and gold answers.

An identity is accepted if nothing contradicts it. One id with two prompts, or one prompt under many ids, is
repaired if the file itself shows how (a column of tasks; ids that only number rows). Otherwise it is refused,
with the columns that would distinguish records.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError
from keyturn.core.identity import identity
from keyturn.rollouts.readers.columns import MISSING, lookup, near, scalar_columns
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.resolve import Resolved
from keyturn.rollouts.readers.values import as_compared, composed, key_of

GROUPS = (
    "task", "task_name", "dataset", "dataset_name", "data_source", "benchmark", "source", "subset", "config",
    "subject", "category", "env", "env_id", "language", "split",
)  # fmt: skip
"""Columns in whose values ids may start again."""
_TABLED = re.compile(r"-?\d+\.0")
"""Pattern of whole numbers that a table with a gap in the column turned into floats."""
_FEW = 0.1
"""Share of prompts with several ids up to which they count as repeated problems of a data set."""
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The problem of one record.

    Args:
        id: its id, or None.
        prompt: its prompt, or ``""``.
        golds: its gold answers.
    """

    id: str | None
    prompt: str
    golds: tuple[str, ...]


def which_problem(
    path: Path, rows: Sequence[Record], asked: Sequence[Asked], found: Resolved
) -> tuple[list[str], list[str]]:
    """The key of each record's problem, and notes.

    Raises:
        InputError: a record does not identify its problem, or identities contradict the prompts.
    """
    column = found.names["problem"]
    for number, one in enumerate(asked, start=1):
        if one.id is None and not one.prompt:
            raise InputError(
                f"{path}, record {number}: neither a problem id nor a prompt", fix="see --columns.problem"
            )
    ids = [one.id if one.id is not None else prompt_key(one.prompt) for one in asked]
    if all(_TABLED.fullmatch(key) for key in ids):
        ids = [key.removesuffix(".0") for key in ids]
    if not column:
        return ids, []
    several = _several(ids, [as_compared(one.prompt) for one in asked])
    if "problem" in found.given:
        said = f"{len(several)} problems, as identified by {column!r}, have several prompts"
        return ids, [said] if several else []
    group = _group(rows, ids, asked, bool(several))
    if group:
        joined = [f"{key_of(lookup(row, group))} {key}" for row, key in zip(rows, ids, strict=True)]
        notes = [f"{column!r} starts again for every {group!r}, so both together identify a problem"]
        return joined, notes
    if several:
        raise _two_prompts(path, rows, ids, asked, found, several)
    return _one_prompt(path, rows, ids, asked, column)


def prompt_key(prompt: str) -> str:
    """The identity of a problem that has only its prompt."""
    return "prompt-" + identity({"prompt": composed(prompt.strip())})


def _several(keys: Sequence[str], values: Sequence[Any]) -> dict[str, list[Any]]:
    """Keys with more than one non-empty value."""
    found: dict[str, dict[Any, None]] = defaultdict(dict)
    for key, value in zip(keys, values, strict=True):
        if value:
            found[key][value] = None
    return {key: list(values) for key, values in found.items() if len(values) > 1}


def _group(rows: Sequence[Record], ids: Sequence[str], asked: Sequence[Asked], contradicted: bool) -> str:
    """The column within which an id means one problem, if ids alone do not; else ``""``.

    Prompts decide if they are known. Without prompts, an id that occurs under two tasks means two problems.
    """
    prompts = [as_compared(one.prompt) for one in asked]
    if not contradicted and any(prompts):
        return ""
    for name in GROUPS:
        values = [lookup(row, name) for row in rows]
        if any(value is MISSING or value is None for value in values):
            continue
        within = [json.dumps([str(value), key]) for value, key in zip(values, ids, strict=True)]
        if len(set(within)) == len(set(ids)) or _several(within, prompts):
            continue
        if contradicted or not _several(within, [one.golds for one in asked]):
            return name
    return ""


def _two_prompts(
    path: Path,
    rows: Sequence[Record],
    ids: Sequence[str],
    asked: Sequence[Asked],
    found: Resolved,
    several: dict[str, list[str]],
) -> InputError:
    column, idle = found.names["problem"], set(found.names.values())
    key, prompts = next(iter(several.items()))
    prompt = [as_compared(one.prompt) for one in asked]
    telling = []
    for name in scalar_columns(rows):
        within = [json.dumps([str(row[name]), one]) for row, one in zip(rows, ids, strict=True)]
        fewer = len(set(within)) <= len(set(zip(ids, prompt, strict=True)))
        if name not in idle and fewer and not _several(within, prompt):
            telling.append(name)
    ways = [f"--columns.problem {name},{column}" for name in telling[:3]]
    ways += [
        "--columns.problem prompt, if each prompt is a separate problem",
        f"--columns.problem {column}, if not",
    ]
    return InputError(
        f"{path}: {len(several)} of {len(set(ids))} values of {column!r} have several prompts"
        f" ({key!r} for {prompts[0][:_SHOWN]!r} and {prompts[1][:_SHOWN]!r})",
        fix="; or ".join(ways),
    )


def _one_prompt(
    path: Path, rows: Sequence[Record], ids: Sequence[str], asked: Sequence[Asked], column: str
) -> tuple[list[str], list[str]]:
    """Handle prompts under several ids: ids that number rows, a few repeated problems, or a question to the
    user."""
    prompts = [as_compared(one.prompt) for one in asked]
    shared = _several(prompts, ids)
    shared.pop("", None)
    total = len(set(prompts) - {""})
    if not shared or total == 1 or not all(prompts):
        return list(ids), []  # if there is only one prompt, it is an instruction and not the problem
    contradicted = _several(prompts, [one.golds for one in asked])
    if len(set(ids)) == len(ids) and 2 * total <= len(ids) and not contradicted:
        note = f"{column!r} numbers the {len(ids)} records, not the problems: the {total} prompts identify them"
        return [prompt_key(one.prompt) for one in asked], [note]
    if len(shared) <= _FEW * total:
        return list(ids), [
            f"{len(shared)} prompts have several values of {column!r}, each of which counts as a problem"
        ]
    prompt, names = next(iter(shared.items()))
    raise InputError(
        f"{path}: {len(shared)} of {total} prompts have several values of {column!r}"
        f" ({prompt[:_SHOWN]!r} under {', '.join(map(repr, names[:3]))})",
        fix="--columns.problem prompt, if each prompt is one problem; or --columns.problem "
        f"{column}, if each {column} is; {near(rows)}",
    )
