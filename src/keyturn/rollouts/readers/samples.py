"""Sample files of any common tool as one table: who was asked what, what came, was it right."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from keyturn.core.errors import InputError, UsageError
from keyturn.core.problem import Problem
from keyturn.core.rundir import identity, write_bytes
from keyturn.rollouts.arrow import SURROGATE
from keyturn.rollouts.completions import Completions, Prompts, Stop
from keyturn.rollouts.grades import Grades
from keyturn.rollouts.readers.columns import Columns, Resolved, choose, lookup, near, resolve
from keyturn.rollouts.readers.records import Record, read_records, split_selector

_RIGHT = frozenset({"c", "correct", "true", "yes", "1", "1.0", "pass", "passed"})
_WRONG = frozenset({"i", "incorrect", "false", "no", "0", "0.0", "n", "fail", "failed"})
_UNGRADED = frozenset({"", "nan", "none", "null", "ungraded"})
_CUT = frozenset({"length", "max_tokens", "model_length", "true"})
Cell = Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Draws of one policy as a file holds them, one row a completion.

    Args:
        source: the file, with the selector where one was given.
        policy: what the file calls the policy; the file's name where it says nothing.
        problem: problem ids, ``[row]``.
        prompts: ``[row]``, ``""`` where the file has none.
        texts: completions, ``[row]``.
        success: 1 right, 0 wrong, NaN ungraded, float32 ``[row]``.
        verified: the same for answer and trace together; all NaN where nobody read traces.
        gold: gold answers, ``""`` where there is none, ``[row]``.
        also: further gold answers of a problem, any of which is as right, by its id.
        answer: extracted answers, ``""`` where unknown, ``[row]``.
        draw: number of the draw within its problem, int32 ``[row]``.
        truncated: cut at the limit (False where unknown), bool ``[row]``.
        cells: where each row's problem stands, ``[row]``.
        columns: further columns of the grader, one entry a row (``lenient``...).
        notes: what was passed over or made up, one sentence each.
    """

    source: str
    policy: str
    problem: tuple[str, ...]
    prompts: tuple[str, ...]
    texts: tuple[str, ...]
    success: NDArray[np.float32]
    verified: NDArray[np.float32]
    gold: tuple[str, ...]
    answer: tuple[str, ...]
    draw: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    cells: tuple[Cell, ...]
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def ungraded(self) -> int:
        """How many rows have no verdict."""
        return int(np.isnan(self.success).sum())

    @property
    def words(self) -> NDArray[np.int32]:
        """Words per completion: the length where no tokenizer is known."""
        return np.array([len(text.split()) for text in self.texts], dtype=np.int32)

    def problems(self) -> tuple[Problem, ...]:
        """The problems in the order of their first row.

        Raises:
            InputError: two rows of a problem have different gold answers.
        """
        found: dict[str, Problem] = {}
        for name, prompt, gold, cell in zip(self.problem, self.prompts, self.gold, self.cells, strict=True):
            further = self.also.get(name, ())
            known = found.setdefault(
                name, Problem(id=name, prompt=prompt, answer=gold, also=further, cell=dict(cell))
            )
            if known.answer != gold:
                raise InputError(
                    f"{self.source}: problem {name!r} has two gold answers,"
                    f" {known.answer[:60]!r} and {gold[:60]!r}",
                    fix="name the column of gold answers with --columns.gold",
                )
        return tuple(found.values())

    def completions(self) -> tuple[tuple[Problem, ...], Completions]:
        """The texts as completions without tokens, for a grader."""
        problems = self.problems()
        place = {problem.id: index for index, problem in enumerate(problems)}
        none = np.zeros(0, dtype=np.float32)
        prompts = Prompts.build([p.id for p in problems], [p.prompt for p in problems], [[] for _ in problems])
        return problems, Completions(
            policy=self.policy,
            prompts=prompts,
            problem=np.array([place[name] for name in self.problem], dtype=np.int32),
            draw=self.draw,
            tokens=none.astype(np.int32),
            offsets=np.zeros(len(self) + 1, dtype=np.int64),
            logprobs=none,
            entropies=none,
            stop=np.where(self.truncated, Stop.LENGTH, Stop.UNKNOWN).astype(np.uint8),
            texts=self.texts,
        )

    def with_grades(self, grades: Grades) -> Samples:
        """The same draws with a grader's verdicts in place of the file's."""
        return replace(
            self,
            success=grades.outcome,
            verified=grades.verified,
            answer=grades.answer,
            columns={**self.columns, **grades.columns},
        )


def read_samples(source: str | Path, columns: Columns = Columns()) -> Samples:  # noqa: B008
    """Read a file of samples.

    Args:
        source: a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file; ``file#which`` selects one of
            several policies in it.
        columns: names where the known ones do not do.

    Raises:
        UsageError: no such file, column or selection.
        InputError: a damaged file, no completions, no problems, neither verdicts nor gold answers, rewards
            that are not verdicts, a draw that occurs twice, or several policies and none chosen.
    """
    path, which = split_selector(source)
    if which and columns.select and which != columns.select:
        raise UsageError(f"{source} selects {which!r} and the option {columns.select!r}", fix="leave one out")
    records = read_records(path)
    rows, policy = choose(path, records.rows, which or columns.select)
    found = resolve(path, rows, columns)
    if not found.names["success"] and not found.names["gold"]:
        raise InputError(
            f"{path}: neither verdicts nor gold answers",
            fix=f"name a column with --columns.success or --columns.gold; {near(rows, 'reward', 'answer')}",
        )
    table = _Rows(path, found, columns.success_at)
    for number, row in enumerate(rows, start=1):
        table.add(number, row)
    return table.samples(policy or path.name.split(".")[0], str(source), records.notes)


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples under our own column names; the ending chooses JSONL or Parquet."""
    columns: dict[str, list[Any]] = {
        "problem_id": list(samples.problem),
        "prompt": list(samples.prompts),
        "completion": list(samples.texts),
        "draw": samples.draw.tolist(),
        "outcome": [None if math.isnan(value) else float(value) for value in samples.success],
        "verified": [None if math.isnan(value) else float(value) for value in samples.verified],
        "answer": list(samples.answer),
        "gold": _written_golds(samples),
        "truncated": samples.truncated.tolist(),
        "policy": [samples.policy] * len(samples),
    }
    for name in sorted({key for cell in samples.cells for key in cell} - set(columns)):
        columns[name] = [cell.get(name) for cell in samples.cells]
    if path.name.endswith(".parquet"):
        clean = {
            name: [SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value for value in column]
            for name, column in columns.items()
        }
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(clean), sink, compression="zstd")
        write_bytes(path, sink.getvalue().to_pybytes())
        return
    if not path.name.endswith(".jsonl"):
        raise UsageError(f"cannot write {path.name}", fix="name a file that ends in .jsonl or .parquet")
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    write_bytes(path, b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))


def _written_golds(samples: Samples) -> list[Any]:
    """Gold answers as a column: texts, or lists of texts where any problem has several."""
    if not samples.also:
        return list(samples.gold)
    return [
        [gold, *samples.also.get(name, ())] for name, gold in zip(samples.problem, samples.gold, strict=True)
    ]


class _Rows:
    """Collects rows while a file is read."""

    def __init__(self, path: Path, columns: Resolved, success_at: float) -> None:
        self.path, self.columns, self.success_at = path, columns, success_at
        self.problem: list[str] = []
        self.prompts: list[str] = []
        self.texts: list[str] = []
        self.success: list[float] = []
        self.verified: list[float] = []
        self.gold: list[str] = []
        self.also: dict[str, tuple[str, ...]] = {}
        self.answer: list[str] = []
        self.draw: list[int] = []
        self.truncated: list[bool] = []
        self.cells: list[Cell] = []
        self.next_draw: dict[str, int] = {}
        self.shared = 0

    def add(self, number: int, row: Record) -> None:
        """One record: one draw, or several where its completion is a list of texts."""
        get = self.columns.get
        where = f"{self.path}, record {number}"
        texts = as_texts(get(row, "completion"))
        if texts is None:
            name = self.columns.names["completion"]
            raise InputError(
                f"{where}: {name!r} holds no text", fix="name another column: --columns.completion"
            )
        prompt = as_text(get(row, "prompt"))
        problem = get(row, "problem")
        if problem is None and prompt is None:
            raise InputError(f"{where}: neither a problem id nor a prompt", fix="see --columns.problem")
        key = str(problem) if problem is not None else "prompt-" + identity({"prompt": prompt})
        success = get(row, "success")
        verdicts = success if isinstance(success, Sequence) and not isinstance(success, str) else [success]
        if len(verdicts) != len(texts):
            # One verdict over several texts (a mean, a majority) says nothing of any one of them.
            self.shared += len(texts)
            verdicts = [None] * len(texts)
        given = get(row, "draw")
        for text, verdict in zip(texts, verdicts, strict=True):
            draw = self.next_draw.get(key, 0) if given is None or len(texts) > 1 else _whole(where, given)
            self.next_draw[key] = self.next_draw.get(key, 0) + 1
            self.problem.append(key)
            self.prompts.append(prompt or "")
            self.texts.append(text)
            self.success.append(verdict_of(where, verdict, self.success_at))
            self.verified.append(verdict_of(where, get(row, "verified"), math.nan))
            gold, *further = (as_gold(one) for one in alternatives(get(row, "gold")))
            self.gold.append(gold)
            if self.also.setdefault(key, tuple(further)) != tuple(further):
                raise InputError(
                    f"{where}: problem {key!r} has other gold answers in an earlier record",
                    fix="name the column of gold answers with --columns.gold",
                )
            self.answer.append(as_gold(alternatives(get(row, "answer"))[0]))
            self.draw.append(draw)
            self.truncated.append(str(get(row, "truncated")).lower() in _CUT)
            self.cells.append(_cell(row, self.columns.cells))

    def samples(self, policy: str, source: str, notes: Sequence[str]) -> Samples:
        """The table, checked."""
        pairs: dict[tuple[str, int], int] = {}
        for number, pair in enumerate(zip(self.problem, self.draw, strict=True)):
            if pair in pairs:
                raise InputError(
                    f"{source}: draw {pair[1]} of problem {pair[0][:80]!r} occurs twice",
                    fix="name the columns with --columns.draw and --columns.problem, or choose one policy",
                )
            pairs[pair] = number
        if self.shared:
            notes = [*notes, f"{self.shared} texts share a verdict with others and count as ungraded"]
        return Samples(
            source=source,
            policy=policy,
            problem=tuple(self.problem),
            prompts=tuple(self.prompts),
            texts=tuple(self.texts),
            success=np.array(self.success, dtype=np.float32),
            verified=np.array(self.verified, dtype=np.float32),
            gold=tuple(self.gold),
            also={name: further for name, further in self.also.items() if further},
            answer=tuple(self.answer),
            draw=np.array(self.draw, dtype=np.int32),
            truncated=np.array(self.truncated, dtype=np.bool_),
            cells=tuple(self.cells),
            notes=tuple(notes),
        )


def verdict_of(where: str, value: Any, success_at: float) -> float:
    """A verdict or reward as 1, 0 or NaN.

    Raises:
        InputError: a reward other than 0 and 1 without a threshold, an infinite one, or no verdict at all.
    """
    if isinstance(value, Mapping) and "value" in value:
        value = value["value"]
    if value is None:
        return math.nan
    if isinstance(value, str):
        word = value.strip().lower()
        known = 1.0 if word in _RIGHT else 0.0 if word in _WRONG else math.nan if word in _UNGRADED else None
        if known is not None:
            return known
        raise InputError(f"{where}: {value[:40]!r} is no verdict", fix="name another column: --columns.success")
    if not isinstance(value, bool | int | float):
        raise InputError(
            f"{where}: {str(value)[:40]!r} is no verdict", fix="name another column: --columns.success"
        )
    number = math.inf if isinstance(value, int) and abs(value) > 1e300 else float(value)
    if math.isnan(number):
        return math.nan
    if math.isinf(number):
        raise InputError(f"{where}: an infinite reward", fix="mend the file")
    if not math.isnan(success_at):
        return float(number >= success_at)
    if number not in (0.0, 1.0):
        raise InputError(
            f"{where}: the reward {number:g} is neither 0 nor 1",
            fix="say from which reward on a completion counts as right: --columns.success-at 1",
        )
    return number


def as_text(value: Any) -> str | None:
    """Text of a prompt or completion: a string, a chat message, or a list of chat messages; else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return as_text(value.get("content", value.get("text")))
    if isinstance(value, Sequence) and value and all(isinstance(part, Mapping) for part in value):
        pieces = [as_text(part) for part in value]
        return "\n".join(piece for piece in pieces if piece)
    return None


def as_texts(value: Any) -> list[str] | None:
    """The texts in a completion's field: one, or one a draw; None where there is no text."""
    text = as_text(value)
    if text is not None:
        return [text]
    if not isinstance(value, Sequence) or isinstance(value, bytes) or not value:
        return None
    if len(value) == 1 and isinstance(value[0], Sequence) and not isinstance(value[0], str):
        return as_texts(value[0])
    texts = [as_text(part) for part in value]
    return None if any(text is None for text in texts) else [text for text in texts if text is not None]


def alternatives(value: Any) -> list[Any]:
    """The gold answers in one field, each as right as the others: a list's entries, else the value itself."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        given = [one for one in value if one is not None]
        if all(isinstance(one, str | bool | int | float) for one in given) or len(given) == 1:
            return given or [None]
    return [value]


def as_gold(value: Any) -> str:
    """A gold or extracted answer as text, ``""`` where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _cell(row: Record, names: Sequence[str]) -> Cell:
    cell = {}
    for name in names:
        value = lookup(row, name)
        if isinstance(value, str | int):
            cell[name] = value
    return cell


def _whole(where: str, value: Any) -> int:
    try:
        number = float(value)
        if number != int(number) or not 0 <= number < 2**31:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: {str(value)[:40]!r} is no number of a draw", fix="see --columns.draw"
        ) from None
    return int(number)
