"""The meaning of columns in files of other tools: explicit names first, else the names that common tools write.

A name may be a dotted path into nested records (``output.completion``); ``*`` stands for every key, or for the
first entry of a list (``scores.*.value``). Known names ignore case, spaces and hyphens. They were taken from:

=========================  ===========================================================================
keyturn's own              ``problem_id, prompt, completion, draw, outcome, verified, answer, gold``...
lm-eval ``--log_samples``  ``doc_id, arguments, resps, target, exact_match | acc``, one row per ``filter``
Inspect (JSON or .eval)    ``id, epoch, input, target, output.completion, scores.<scorer>.value`` (C, I, P, N)
TRL ``log_completions``    ``step, prompt, completion``, one column per reward (which the user must name)
verl ``rollout_data_dir``  ``input, output, gts, score, step`` (and ``acc``)
verifiers                  ``example_id, prompt, completion, answer, reward``; traces: see ``layouts``
grade-school-math          one record per model: ``question, ground_truth, <model>: {solution, is_correct}``
open-r1                    ``problem, generations, correctness_math_verify``; ``solution`` is the data set's
=========================  ===========================================================================
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyturn.rollouts.readers.records import Record


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of a file's columns. Empty: the known names are tried, in the order listed in ``KNOWN``."""

    problem: str = ""
    """Identity of the problem: one column, or several joined by commas (``task,doc_id``). If a file has none,
    it is made from the prompt; ``prompt`` requests that."""
    prompt: str = ""
    """The prompt: text, or a list of chat messages."""
    completion: str = ""
    """The completion: text, chat messages, or a list of texts (several draws)."""
    success: str = ""
    """The verdict or reward: true/false, 0/1, C/I; null and NaN are ungraded."""
    gold: str = ""
    """The gold answer for grading; of several in a list any is right."""
    draw: str = ""
    """Number of the draw within its problem: one column, or several joined by commas (``rank,sample_idx``). If
    there is none, rows of a problem are numbered in order; ``none`` requests that."""
    answer: str = ""
    """The answer that was extracted from the completion."""
    verified: str = ""
    """Whether answer *and* trace are right, if a verifier read the trace."""
    truncated: str = ""
    """Whether the completion was cut at its limit: true/false, or a reason such as ``length``."""
    right: str = ""
    """In a file of counts, with one record per problem: the number of right draws (``c``)."""
    drawn: str = ""
    """In a file of counts: the number of draws (``n``)."""
    cells: tuple[str, ...] = ()
    """Columns that make the cell of a problem; by default those of ``subject level depth domain difficulty
    context`` that the file has."""
    select: str = ""
    """Which records to read, if the file holds those of several policies: the name of a nested record, a value
    of a column such as ``model``, ``filter`` or ``step``, or ``column=value``; several are joined by commas.
    The same as ``file.jsonl#which``."""
    success_at: float = float("nan")
    """Smallest reward that counts as success; by default a reward other than 0 and 1 is refused."""


KNOWN: Mapping[str, tuple[str, ...]] = {
    "problem": (
        "problem_id", "doc_id", "example_id", "question_id", "task_id", "unique_id", "prompt_id", "problem_idx",
        "question_idx", "id", "extra_info.index",
    ),
    "prompt": (
        "prompt", "question", "problem", "input", "query", "arguments.gen_args_0.arg_0", "arguments.*.*",
        "instruction", "prompts",
    ),
    "completion": (
        "completion", "response", "output.completion", "output.choices.*.message.content", "output", "resps",
        "generation", "generated_text", "model_output", "model_output_text", "model_response",
        "model_completion", "generated_response", "generated_solution", "text", "responses", "completions",
        "generations", "outputs", "choices",
    ),
    "success": (
        "success", "outcome", "is_correct", "correct", "passed", "acc", "exact_match", "math_verify",
        "correctness_math_verify", "correctness", "pass@1", "reward", "score", "scores.*.value", "scores",
        "rewards.*.score", "rewards",
    ),
    "gold": (
        "gold", "gold_answer", "ground_truth", "target", "gts", "reference_answer", "reference", "expected",
        "expected_answer", "correct_answer", "reward_model.ground_truth", "answer",
    ),
    "draw": ("draw", "epoch", "sample_idx", "sample_index", "completion_idx", "attempt"),
    "answer": (
        "extracted_answer", "extracted", "pred", "prediction", "predicted_answer", "scores.*.answer", "answer",
    ),
    "verified": ("verified",),
    "truncated": (
        "truncated", "is_truncated", "finish_reason", "stop_reason", "output.stop_reason",
        "output.choices.*.stop_reason", "choices.*.finish_reason", "finish_reasons", "stop_reasons",
    ),
    "right": (
        "c", "n_correct", "num_correct", "correct_count", "correctness_count", "successes", "n_success",
        "passes",
    ),
    "drawn": ("n", "n_samples", "num_samples", "n_draws", "num_draws", "total", "trials", "draws", "samples"),
}  # fmt: skip

CELLS = ("subject", "level", "depth", "domain", "difficulty", "context")

MISSING = object()


def lookup(row: Any, path: str) -> Any:
    """The value at a name or dotted path; ``MISSING`` if there is none, or if a ``*`` has several keys."""
    if not path:
        return row
    if isinstance(row, Mapping):
        if path in row:
            return row[path]
        # A key may itself contain a dot, so the longest prefix that is a key is used.
        cut = len(path)
        while (cut := path.rfind(".", 0, cut)) > 0:
            head, rest = path[:cut], path[cut + 1 :]
            if head in row:
                return lookup(row[head], rest)
            if head == "*" and len(row) == 1:
                return lookup(next(iter(row.values())), rest)
        return next(iter(row.values())) if path == "*" and len(row) == 1 else MISSING
    if isinstance(row, Sequence) and not isinstance(row, str | bytes) and row:
        head, _, rest = path.partition(".")
        return lookup(row[0], rest) if head in ("*", "0") else MISSING
    return MISSING


def spelled(name: str) -> str:
    """A name in the form of known names: lower case, words joined by ``_``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[\s\-]+", "_", words.strip()).lower()


def spellings(rows: Iterable[Record]) -> dict[str, str]:
    """The existing columns by their name in the form of known names; an exact name is preferred."""
    found: dict[str, str] = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        usual = spelled(name)
        if usual not in found or name == usual:
            found[usual] = name
    return found


def paths(rows: Sequence[Record], known: str, spelling: Mapping[str, str]) -> list[str]:
    """The columns that a known name means in a file: itself, or one for every key of its ``*``."""
    head, dot, rest = known.partition(".")
    if known in spelling:
        return [spelling[known]]  # also a dotted name, if a table was made from nested records
    if head not in spelling:
        return []
    return _expanded(rows, spelling[head] + dot + rest)


def _expanded(rows: Sequence[Record], actual: str) -> list[str]:
    if "*" not in actual:
        return [actual]
    before, _, after = actual.partition(".*")
    keys: dict[str, None] = {}
    for row in rows:
        value = lookup(row, before)
        if isinstance(value, Mapping):
            keys |= dict.fromkeys(map(str, value))
    if not keys:
        return [actual]
    return [path for key in keys for path in _expanded(rows, f"{before}.{key}{after}")]


def scalar(value: Any) -> bool:
    """Whether a value can name a group, as text, a number or a truth value can."""
    return isinstance(value, str | int | float)


def scalar_columns(rows: Sequence[Record]) -> Iterator[str]:
    """Columns whose values are short scalars in every record."""
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        if all(scalar(value) and len(str(value)) < 100 for value in values):
            yield name


def present(rows: Sequence[Record]) -> list[str]:
    """Every column that the first records have."""
    return list(dict.fromkeys(key for row in rows[:20] for key in row))


def near(rows: Sequence[Record], *wanted: str) -> str:
    """A hint with the existing columns, those with the most similar names first."""
    names = present(rows)
    close = [match for name in wanted for match in difflib.get_close_matches(name, names, n=2, cutoff=0.5)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close))}? " if close else ""
    shown = ", ".join(names[:24]) + (", …" if len(names) > 24 else "")
    return f"{hint}columns present: {shown}"
