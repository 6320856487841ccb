"""Draws that came in a bundle, graded again here: verdict by verdict, then number by number.

What is found: a verdict that the grader does not give to its draw; a number of a run, or of an audit, that the
draws do not give. What is not found: whether the draws came from the model that the record names. Only a run of
one's own shows that.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from keyturn.atlas.asked import grader_of, problems_of
from keyturn.atlas.evidence import Evidence
from keyturn.core.errors import InputError, KeyturnError
from keyturn.core.measurement import Estimate
from keyturn.core.rundir import check_schema
from keyturn.core.streams import Streams
from keyturn.experiments.arms import numbers_of
from keyturn.experiments.audited import numbers_by_draws
from keyturn.problems.contract import answers
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Answers, TwoStages
from keyturn.rollouts.store import read_completions, read_grades

CLOSE = 6e-6
"""Rows are rounded to five digits."""
MOST_DRAWS = 2_000_000
MOST_VALUES = 500_000_000
"""Values of all columns of a table, as its footer declares them."""
NEWEST = 1
_AGAIN = "ask its maker for the file again"
PLAN_FIELDS, AUDIT_FIELDS = {"arm", "seed"}, {"pair", "side"}


@dataclass(frozen=True, kw_only=True)
class Regraded:
    """What grading the draws of a record again showed.

    Args:
        draws: how many were graded.
        runs: ``(arm, seed, number)`` of rows that follow from draws.
        numbers: numbers of the record that follow from the draws of an audit.
        wrong: what does not follow, one sentence each.
        left: why draws could not be graded again here, one sentence each.
    """

    draws: int = 0
    runs: frozenset[tuple[str, str, str]] = frozenset()
    numbers: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


def followed_by_run(found: Answers, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Numbers of a run's row that its draws give."""
    return tuple(name for name, value in numbers_of(found).items() if _agrees(row.get(name), value))


def followed_by_audit(
    evidence: Evidence, base: Answers, tuned: Answers, *, pair: str, k: int
) -> tuple[str, ...]:
    """Numbers of a record that the draws of its audit give, interval and all."""
    found = _of_audit(base, tuned, seed=evidence.seed, pair=pair, k=k)
    return tuple(
        name for name, number in evidence.numbers.items() if name in found and _same(number, found[name])
    )


def _of_audit(base: Answers, tuned: Answers, *, seed: int, pair: str, k: int) -> Mapping[str, Estimate]:
    return numbers_by_draws(base, tuned, streams=Streams(seed).child("measure", pair), k=k)


def _same(number: Estimate, made: Estimate) -> bool:
    ends = ((number.value, made.value), (number.low, made.low), (number.high, made.high))
    return all(math.isclose(was, now, rel_tol=1e-9, abs_tol=1e-9) for was, now in ends)


def _agrees(cell: Any, value: float) -> bool:
    return type(cell) in (int, float) and abs(float(cell) - value) <= CLOSE


def regraded(one: Evidence, details: Mapping[str, Any], files: Mapping[str, bytes]) -> Regraded:
    """Grade the draws of a record again.

    Args:
        one: the record.
        details: what is behind it, with ``rows`` for a study that runs a plan.
        files: path below its folder of draws -> bytes.

    Raises:
        InputError: the draws are not what they must be; one line says what.
        NewerError: a newer keyturn wrote them.
    """
    if "draws.json" not in files:
        if files:
            raise InputError(f"draws of {one.claim}: draws.json is missing", fix=_AGAIN)
        return Regraded()
    where = f"draws of {one.claim}, seed {one.seed}"
    document = _document(files, "draws.json", where)
    check_schema(document, where, _AGAIN, newest=NEWEST)
    sets = document.get("sets")
    k = document.get("k")
    if not isinstance(sets, list) or type(k) is not int or not all(_is_set(x, bool(k)) for x in sets):
        raise InputError(f"{where}: draws.json does not say whose draws there are", fix=_AGAIN)
    if len({one["folder"] for one in sets}) < len(sets):
        raise InputError(f"{where}: two sets of draws share a folder", fix=_AGAIN)
    tables, wrong, left, draws = [], [], [], 0
    for row in sets:
        try:
            found, differing = _opened(files, row, where)
        except KeyturnError as error:
            left.append(str(error.what))
            continue
        draws += len(found)
        if differing:
            wrong.append(f"{differing} of {len(found)} verdicts of {_whose(row)} are not what its grader says")
        tables.append((row, found))
    runs: set[tuple[str, str, str]] = set()
    numbers: tuple[str, ...] = ()
    if k:
        numbers = _audit(one, document, tables, k, wrong)
    else:
        runs = _runs(details, tables, wrong)
    return Regraded(draws=draws, runs=frozenset(runs), numbers=numbers, wrong=tuple(wrong), left=tuple(left))


def _is_set(row: Any, audit: bool) -> bool:
    texts = {"folder", "asked", *(AUDIT_FIELDS if audit else PLAN_FIELDS)}
    if not isinstance(row, dict) or not all(type(row.get(name)) is str for name in texts):
        return False
    names, rule = row.get("numbers"), row.get("two_stages")
    ruled = rule is None or (
        isinstance(rule, dict)
        and rule.keys() == {"first", "enough"}
        and all(type(x) is int for x in rule.values())
    )
    return ruled and isinstance(names, list) and all(type(name) is str for name in names)


def _whose(row: Mapping[str, Any]) -> str:
    return f"the {row['side']} policy" if "side" in row else f"{row['arm']}, seed {row['seed']}"


def _opened(files: Mapping[str, bytes], row: Mapping[str, Any], where: str) -> tuple[Answers, int]:
    """The draws of a set, graded again, and how many verdicts that came with them differ."""
    asked = _document(files, f"asked-{row['asked']}.json", where)
    if not isinstance(asked.get("problems"), list) or not isinstance(asked.get("grader"), dict):
        raise InputError(f"{where}: asked-{row['asked']}.json holds no problems with a grader", fix=_AGAIN)
    problems = problems_of(asked["problems"], where)
    grader = grader_of(asked["grader"], where)
    prefix = f"{row['folder']}/"
    own = {name.removeprefix(prefix): data for name, data in files.items() if name.startswith(prefix)}
    completions, grades = _tables(own, f"{where}, {_whose(row)}")
    if list(completions.prompts.ids) != [problem.id for problem in problems]:
        raise InputError(f"{where}: the draws of {_whose(row)} answer other problems", fix=_AGAIN)
    if len(completions) and not (completions.problem.min() >= 0 and completions.problem.max() < len(problems)):
        raise InputError(f"{where}: a draw of {_whose(row)} answers no problem", fix=_AGAIN)
    made = grader.grade(problems, completions)
    differing = sum(
        not np.array_equal(a, b, equal_nan=True)
        for a, b in zip(
            np.stack([grades.outcome, grades.verified], axis=1),
            np.stack([made.outcome, made.verified], axis=1),
            strict=True,
        )
    )
    table = answers(row.get("side", "test"), problems, completions, made)
    return with_rule(table, row.get("two_stages")), differing


def with_rule(table: Answers, rule: Mapping[str, int] | None) -> Answers:
    """Draws with the rule by which some problems got more of them; who went on follows from the draws."""
    if rule is None:
        return table
    _, successes = table.select(table.draw < rule["first"]).counts()
    went_on = successes < rule["enough"]
    return replace(table, two_stages=TwoStages(first=rule["first"], enough=rule["enough"], went_on=went_on))


def _tables(files: Mapping[str, bytes], where: str) -> tuple[Completions, Any]:
    """Completions and verdicts of a set.

    Raises:
        InputError: a table is missing, damaged, or too large.
    """
    for name, data in files.items():
        _refuse_large(name, data, where)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            completions, grades = read_completions(Path(folder)), read_grades(Path(folder))
        lengths = {len(completions), len(completions.texts), len(grades.outcome), len(grades.verified)}
        sound = (
            len(lengths) == 1
            and len(np.unique(np.stack([completions.problem, completions.draw]), axis=1).T) == len(completions)
            and len(completions.tokens) == completions.offsets[-1]
        )
    except (
        KeyturnError,
        pa.ArrowException,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
    ) as error:
        raise InputError(f"{where}: the tables of draws are damaged", fix=_AGAIN) from error
    if not sound:
        raise InputError(f"{where}: the tables of draws do not fit together", fix=_AGAIN)
    return completions, grades


def _refuse_large(name: str, data: bytes, where: str) -> None:
    """Refuse a table that declares more than any study draws, before anything of it is read."""
    try:
        found = pq.read_metadata(io.BytesIO(data))
        groups = [found.row_group(number) for number in range(found.num_row_groups)]
        values = sum(group.column(at).num_values for group in groups for at in range(found.num_columns))
        size = sum(group.total_byte_size for group in groups)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{where}: {name} is no Parquet file", fix=_AGAIN) from error
    if found.num_rows > MOST_DRAWS or values > MOST_VALUES or size > 8 * MOST_VALUES:
        raise InputError(f"{where}: {name} declares {found.num_rows} rows and {size / 1e9:.1f} GB", fix=_AGAIN)


def _document(files: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(files[name])
    except KeyError as error:
        raise InputError(f"{where}: {name} is missing", fix=_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {name} is no JSON", fix=_AGAIN) from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} is no JSON object", fix=_AGAIN)
    return found


def _runs(
    details: Mapping[str, Any], tables: Sequence[tuple[Mapping[str, Any], Answers]], wrong: list[str]
) -> set[tuple[str, str, str]]:
    """The numbers of rows that the draws give; what they do not give is added to ``wrong``."""
    found = set()
    for row, table in tables:
        line = row_of(details.get("rows", ()), row["arm"], row["seed"])
        if line is None:
            wrong.append(f"draws of {_whose(row)}, a run that no row tells of")
            continue
        made = numbers_of(table)
        for name in row["numbers"]:
            if name in made and _agrees(line.get(name), made[name]):
                found.add((row["arm"], row["seed"], name))
            else:
                value = f"{made[name]:.5g}" if name in made else "nothing"
                wrong.append(f"{name} of {_whose(row)} is {line.get(name)} in its row and {value} by its draws")
    return found


def row_of(rows: Sequence[Mapping[str, Any]], arm: str, seed: str) -> Mapping[str, Any] | None:
    """The chosen run of an arm and a seed among the rows of a record."""
    own = (row for row in rows if row.get("chosen") is True and row.get("arm") == arm)
    return next((row for row in own if str(row.get("seed")) == seed), None)


def _audit(
    one: Evidence,
    document: Mapping[str, Any],
    tables: Sequence[tuple[Mapping[str, Any], Answers]],
    k: int,
    wrong: list[str],
) -> tuple[str, ...]:
    """The numbers of a record that the draws of both policies give."""
    sides = {row["side"]: (row, table) for row, table in tables}
    names = document.get("numbers")
    if set(sides) != {"base", "tuned"} or not isinstance(names, list):
        return ()
    (row, base), (_, tuned) = sides["base"], sides["tuned"]
    made = _of_audit(base, tuned, seed=one.seed, pair=row["pair"], k=k)
    followed = []
    for name in names:
        if name in made and name in one.numbers and _same(one.numbers[name], made[name]):
            followed.append(name)
        else:
            wrong.append(f"{name!s:.60} does not follow from the draws")
    return tuple(followed)
