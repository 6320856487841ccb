"""Which column of a foreign file is what: explicit names first, else the names that common tools write.

A name may be a dotted path into nested records (``output.completion``); ``*`` stands for the only key or
the first entry there is (``scores.*.value``). The known names were taken from:

=========================  ===========================================================================
keyturn's own              ``problem_id, prompt, completion, draw, outcome, verified, answer, gold``...
lm-eval ``--log_samples``  ``doc_id, arguments, resps, target, exact_match | acc``, one row a ``filter``
Inspect (JSON log)         ``id, epoch, input, target, output.completion, scores.<scorer>.value`` (C, I, P, N)
TRL ``log_completions``    ``step, prompt, completion``, one column a reward (to be named by the user)
verl ``rollout_data_dir``  ``input, output, gts, score, step`` (and ``acc``)
verifiers                  ``example_id, prompt, completion, answer, reward``
grade-school-math          one record a model: ``question, ground_truth, <model>: {solution, is_correct}``
=========================  ===========================================================================
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError, UsageError
from keyturn.rollouts.readers.records import Record


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of a file's columns. Empty: the known names are tried, in the order listed in ``KNOWN``."""

    problem: str = ""
    """Identity of the problem; where a file has none, it is made from the prompt."""
    prompt: str = ""
    """The prompt: text, or a list of chat messages."""
    completion: str = ""
    """The completion: text, chat messages, or a list of texts (several draws)."""
    success: str = ""
    """The verdict or reward: true/false, 0/1, C/I; null and NaN are ungraded."""
    gold: str = ""
    """The gold answer, to grade against."""
    draw: str = ""
    """Number of the draw within its problem; rows of a problem are numbered in order where there is none."""
    answer: str = ""
    """The answer that was extracted from the completion."""
    verified: str = ""
    """Whether answer *and* trace are right, where a verifier read the trace."""
    truncated: str = ""
    """Whether the completion was cut at its limit: true/false, or a reason such as ``length``."""
    cells: tuple[str, ...] = ()
    """Columns that say where a problem stands; by default those of ``subject level depth domain difficulty``
    that the file has."""
    select: str = ""
    """Which records, where the file holds those of several policies: the name of a nested record, or a value
    of the column ``model``, ``policy``, ``filter`` or ``step``. The same as ``file.jsonl#which``."""
    success_at: float = float("nan")
    """Rewards at or above it are a success; by default a reward other than 0 and 1 is refused."""


KNOWN: Mapping[str, tuple[str, ...]] = {
    "problem": (
        "problem_id", "doc_id", "example_id", "question_id", "task_id", "unique_id", "prompt_id", "id",
    ),
    "prompt": (
        "prompt", "question", "problem", "input", "query", "arguments.gen_args_0.arg_0", "arguments.*.*",
    ),
    "completion": (
        "completion", "response", "output.completion", "output.choices.*.message.content", "output", "resps",
        "generation", "generated_text", "model_output", "text", "responses", "completions", "solution",
    ),
    "success": (
        "success", "outcome", "is_correct", "correct", "passed", "acc", "exact_match", "pass@1", "reward",
        "score", "scores.*.value", "scores", "rewards",
    ),
    "gold": (
        "gold", "gold_answer", "ground_truth", "target", "gts", "reference_answer", "reference", "expected",
        "reward_model.ground_truth", "answer",
    ),
    "draw": ("draw", "epoch", "sample_idx", "sample_index", "completion_idx", "attempt"),
    "answer": ("extracted_answer", "extracted", "pred", "scores.*.answer", "answer"),
    "verified": ("verified",),
    "truncated": (
        "truncated", "finish_reason", "stop_reason", "output.stop_reason", "output.choices.*.stop_reason",
    ),
}  # fmt: skip

CELLS = ("subject", "level", "depth", "domain", "difficulty", "context")
POLICY_COLUMNS = ("model", "policy", "filter", "step")
"""Columns whose different values are different policies or different gradings: one must be chosen."""

MISSING = object()


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The column of each purpose in one file; an empty name means that the file has none."""

    names: Mapping[str, str]
    cells: tuple[str, ...]

    def get(self, row: Record, purpose: str) -> Any:
        """The value, None where there is none.

        Raises:
            InputError: one of several verdicts would have to be guessed.
        """
        name = self.names[purpose]
        if not name or not _there(row, name, purpose):
            return None
        return lookup(row, name)


def lookup(row: Any, path: str) -> Any:
    """The value at a name or dotted path; ``MISSING`` where there is none.

    Raises:
        InputError: a ``*`` over several keys.
    """
    if isinstance(row, Mapping) and path in row:
        return row[path]
    value: Any = row
    for key in path.split("."):
        if isinstance(value, Mapping):
            if key == "*":
                if len(value) > 1:
                    names = ", ".join(sorted(map(str, value)))
                    first = path.replace("*", str(next(iter(value))))
                    raise InputError(
                        f"{path} could be any of {names}",
                        fix=f"name one: --columns.success {first}",
                    )
                key = next(iter(value), "*")
            value = value.get(key, MISSING)
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes) and key in ("*", "0"):
            value = value[0] if value else MISSING
        else:
            return MISSING
    return value


def resolve(path: Path, rows: Sequence[Record], columns: Columns) -> Resolved:
    """Find the column of each purpose.

    Raises:
        UsageError: a column that was named is not there.
        InputError: no completion, or neither a problem's identity nor its prompt.
    """
    sample = [*rows[:20], *rows[-1:]]
    names: dict[str, str] = {}
    for purpose, known in KNOWN.items():
        given = str(getattr(columns, purpose))
        if given:
            if all(lookup(row, given) is MISSING for row in sample):
                raise UsageError(f"{path}: no column {given!r} for the {purpose}", fix=near(rows, given))
            names[purpose] = given
        else:
            taken = set(names.values())
            names[purpose] = next(
                (
                    name
                    for name in known
                    if name not in taken and any(_there(row, name, purpose) for row in sample)
                ),
                "",
            )
    if not names["completion"]:
        raise InputError(f"{path}: no column with completions", fix=near(rows, *KNOWN["completion"][:2]))
    if not names["problem"] and not names["prompt"]:
        raise InputError(f"{path}: neither problem ids nor prompts", fix=near(rows, "problem_id", "prompt"))
    cells = columns.cells or tuple(name for name in CELLS if any(_there(row, name, "cell") for row in sample))
    for name in columns.cells:
        if all(lookup(row, name) is MISSING for row in sample):
            raise UsageError(f"{path}: no column {name!r} for a cell", fix=near(rows, name))
    return Resolved(names=names, cells=cells)


def choose(path: Path, rows: Sequence[Record], select: str) -> tuple[Sequence[Record], str]:
    """The records of one policy, and its name.

    Raises:
        UsageError: no such record or value.
        InputError: the records of several policies and none selected.
    """
    nested = nested_policies(rows[0])
    if nested:
        chosen = _one_of(path, "records of the models", nested, select)
        return [{**row, **_inner(path, row, chosen)} for row in rows], chosen
    kept, name = rows, ""
    for column in POLICY_COLUMNS:
        values = list(dict.fromkeys(str(row[column]) for row in kept if _scalar(row.get(column))))
        if select in values:
            kept, name, select = [row for row in kept if str(row.get(column)) == select], select, ""
        elif len(values) > 1:
            _one_of(path, f"records of several values of {column!r}:", values, select)
        elif values and column in ("model", "policy"):
            name = name or values[0]
    if select:
        raise UsageError(f"{path}: nothing in it is called {select!r}", fix=f"leave out #{select}")
    return kept, name


def nested_policies(row: Record) -> list[str]:
    """Names of records inside a record that hold a completion of their own."""
    known = KNOWN["completion"]
    if any(isinstance(lookup(row, name), str | list) for name in known):
        return []
    return [
        key
        for key, value in row.items()
        if isinstance(value, Mapping) and any(isinstance(value.get(name), str) for name in known)
    ]


def near(rows: Sequence[Record], *wanted: str) -> str:
    """A hint that names the columns there are, the nearest to what was wanted first."""
    present = list(dict.fromkeys(key for row in rows[:20] for key in row))
    close = [match for name in wanted for match in difflib.get_close_matches(name, present, n=2, cutoff=0.5)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close))}? " if close else ""
    shown = ", ".join(present[:24]) + (", …" if len(present) > 24 else "")
    return f"{hint}columns present: {shown}"


def _there(row: Record, name: str, purpose: str) -> bool:
    try:
        return lookup(row, name) not in (MISSING, None)
    except InputError:
        # Which of several verdicts is meant must be said; anything else is only nice to have.
        return purpose == "success"


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _one_of(path: Path, what: str, names: Sequence[str], select: str) -> str:
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if select in names:
        return select
    if select:
        close = difflib.get_close_matches(select, names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {shown}"
        raise UsageError(f"{path} holds nothing called {select!r}", fix=hint)
    if len(names) == 1:
        return names[0]
    raise InputError(f"{path} holds {what} {shown}", fix=f"choose one, e.g. {path.name}#{names[0]}")


def _inner(path: Path, row: Record, name: str) -> Record:
    inner = row.get(name)
    if not isinstance(inner, Mapping):
        raise InputError(f"{path}: a record has nothing of {name!r}", fix="check the file")
    return inner
