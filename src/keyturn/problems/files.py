"""Problems from files: JSONL, JSON, Parquet, or a Hugging Face data set in memory or saved to disk.

Known layouts: GSM8K (``question, answer`` with ``#### 18``) and MATH (``problem, solution, answer`` or only a
solution with a ``\\\\boxed``; ``subject, level``). For any other file the columns are named, or they have
common names. A problem's id comes from the file, else it is a hash of prompt and answer, so that the same
problem has the same id in every file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyturn.core.errors import InputError, UsageError, unknown
from keyturn.core.extras import need
from keyturn.core.identity import identity
from keyturn.core.problem import Problem
from keyturn.problems.contract import Grader, ProblemSet
from keyturn.problems.graders import GRADERS
from keyturn.problems.graders.boxes import last_box
from keyturn.problems.graders.choice import gold_letter
from keyturn.problems.graders.gsm8k import marked_quantity
from keyturn.problems.graders.numbers import quantity
from keyturn.rollouts.readers import Samples
from keyturn.rollouts.readers.columns import CELLS, MISSING, lookup, near, paths, spellings
from keyturn.rollouts.readers.messages import as_text
from keyturn.rollouts.readers.records import Record, read_records, split_selector
from keyturn.rollouts.readers.values import alternatives, composed


@dataclass(frozen=True, kw_only=True)
class ProblemColumns:
    """Names of a problem file's columns. Empty: the known names are tried in order."""

    prompt: str = ""
    """What is asked: text, or chat messages whose roles a chat template is given (``prompt question problem
    input query``)."""
    answer: str = ""
    """The gold answer (``answer gold gold_answer target ground_truth solution``)."""
    id: str = ""
    """Identity of the problem (``id problem_id unique_id task_id``); derived from content if absent."""
    cells: tuple[str, ...] = ()
    """Columns that make the cell of a problem; by default those of ``subject level depth domain difficulty
    context`` that the file has."""


_KNOWN: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "problem", "input", "query"),
    "answer": (
        "answer", "gold", "gold_answer", "target", "ground_truth", "reward_model.ground_truth", "final_answer",
        "solution",
    ),
    "id": ("id", "problem_id", "unique_id", "task_id"),
}  # fmt: skip

TOLD = ("candidate", "critique")
"""Columns that are kept as facts besides ``solution``: somebody's answer, and a critique of it."""


def read_problems(
    source: str | Path,
    *,
    grader: str | Grader = "auto",
    columns: ProblemColumns = ProblemColumns(),
) -> ProblemSet:
    """Read a file of problems.

    Args:
        source: ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet``, or the folder of a saved Hugging Face data
            set (``folder#test`` chooses a split).
        grader: a grader, its name, or ``"auto"`` to choose by the gold answers (see :func:`choose_grader`).
        columns: names of columns that keyturn does not know.

    Raises:
        UsageError: no such file, column, split or grader.
        InputError: a damaged file, a problem without a prompt, or one id for two problems.
    """
    path, which = split_selector(source)
    if path.is_dir():
        rows: Iterable[Record] = _saved_data_set(path, which)
        notes: tuple[str, ...] = ()
    elif which:
        raise UsageError(f"{path} is one file of problems; {which!r} selects nothing", fix=f"write {path}")
    else:
        records = read_records(path)
        rows, notes = records.rows, records.notes
    found = problem_set(rows, name=path.name.split(".")[0], grader=grader, columns=columns)
    return replace(found, notes=(*notes, *found.notes))


def problem_set(
    rows: Iterable[Record],
    *,
    name: str,
    grader: str | Grader = "auto",
    columns: ProblemColumns = ProblemColumns(),
) -> ProblemSet:
    """Problems from records: a list of dictionaries, or a Hugging Face data set in memory.

    Repeated problems are left out and counted in the set's notes.
    """
    listed = list(rows)
    if not listed:
        raise InputError(f"{name} holds no problems", fix="check the file and its split")
    names = {purpose: _column(name, listed, purpose, getattr(columns, purpose)) for purpose in _KNOWN}
    cells = columns.cells or tuple(cell for cell in CELLS if cell in listed[0])
    found: dict[str, Problem] = {}
    repeated = 0
    for number, row in enumerate(listed, start=1):
        problem = _problem(f"{name}, record {number}", row, names, cells)
        known = found.setdefault(problem.id, problem)
        if known is not problem:
            repeated += 1
            if _content(known) != _content(problem):
                raise InputError(
                    f"{name}, record {number}: the id {problem.id!r} belongs to another problem already",
                    fix="name the column of ids, or leave it out to derive them from content",
                )
    problems = tuple(found.values())
    chosen = choose_grader(problems) if grader == "auto" else grader
    judge = known_grader(chosen) if isinstance(chosen, str) else chosen
    notes = (f"{repeated} problems occur more than once and were read once",) if repeated else ()
    return ProblemSet(name=name, problems=problems, grader=judge, notes=notes)


def known_grader(name: str) -> Grader:
    """The grader of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in GRADERS:
        raise unknown("grader", name, GRADERS)
    return GRADERS[name]


def _content(problem: Problem) -> tuple[list[tuple[str, str]], list[str]]:
    """Prompt and right answers, to decide whether two problems are the same."""
    return [(role, composed(text)) for role, text in problem.turns], [composed(gold) for gold in problem.golds]


def choose_grader(problems: Sequence[Problem]) -> str:
    """The grader that fits the gold answers.

    ``gsm8k`` if every answer follows or followed ``####`` or ``A:``; ``math`` if any is LaTeX or came from a
    box; ``numeric`` if every answer is a number; ``choice`` if every answer is a letter from A to J; else
    ``exact``.
    """
    answers = [gold for problem in problems for gold in problem.golds or ("",)]
    layouts = {problem.facts.get("layout") for problem in problems}
    if layouts == {"gsm8k"} or (answers and all(marked_quantity(answer) is not None for answer in answers)):
        return "gsm8k"
    if "boxed" in layouts or any("\\" in answer or "^" in answer for answer in answers):
        return "math"
    if all(quantity(answer) is not None for answer in answers):
        return "numeric"
    return "choice" if all((gold_letter(answer) or "Z") <= "J" for answer in answers) else "exact"


def grade_samples(samples: Samples, grader: Grader, problems: Sequence[Problem] = ()) -> Samples:
    """Samples with a grader's verdicts instead of those in their file.

    Args:
        samples: draws with gold answers, or without.
        grader: the grader.
        problems: source of gold answers if the samples have none, matched by id, else by prompt.

    Raises:
        InputError: a problem has no gold answer anywhere.
    """
    asked, completions = samples.completions()
    by_id = {problem.id: problem for problem in problems}
    by_prompt = {composed(problem.prompt.strip()): problem for problem in problems}
    filled = tuple(by_id.get(p.id) or by_prompt.get(composed(p.prompt.strip())) or p for p in asked)
    without = [problem.id for problem in filled if not problem.golds]
    if without:
        raise InputError(
            f"{samples.source}: {len(without)} of {len(filled)} problems have no gold answer"
            f" ({samples.no_gold or repr(without[0])})",
            fix="name the column with --columns.gold, or give the problems with --problems",
        )
    return samples.with_grades(grader.grade(filled, completions))


def _column(name: str, rows: Sequence[Record], purpose: str, given: str) -> str:
    sample = [*rows[:20], rows[-1]]
    if given:
        if all(lookup(row, given) is MISSING for row in sample):
            raise UsageError(f"{name}: no column {given!r} for the {purpose}", fix=near(rows, given))
        return given
    spelling = spellings(sample)
    for known in _KNOWN[purpose]:
        for column in paths(sample, known, spelling):
            if any(lookup(row, column) not in (MISSING, None) for row in sample):
                return column
    if purpose == "prompt":
        raise InputError(f"{name}: no column with prompts", fix=near(rows, *_KNOWN["prompt"][:3]))
    return ""


def _problem(where: str, row: Record, names: Mapping[str, str], cells: Sequence[str]) -> Problem:
    asked = _unpacked(lookup(row, names["prompt"]))
    prompt = as_text(asked)
    if not prompt or not prompt.strip():
        raise InputError(
            f"{where}: no text in {names['prompt']!r}", fix="name another column, or mend the record"
        )
    raw = lookup(row, names["answer"]) if names["answer"] else ""
    (answer, layout, worked), *further = [_gold(where, one) for one in alternatives(raw)]
    also = tuple(text for text, _, _ in further if text)
    solution = row.get("solution")
    facts: dict[str, str | int | float | bool] = {"layout": layout} if layout else {}
    if worked or isinstance(solution, str):
        facts["solution"] = worked or str(solution)
    facts |= {name: text for name in TOLD if isinstance(text := row.get(name), str)}
    if not layout and isinstance(solution, str) and last_box(solution) is not None:
        facts["layout"] = "boxed"
    messages = _messages(asked)
    content: dict[str, Any] = {"prompt": composed(prompt), "answer": composed(answer)}
    if messages:
        content["messages"] = [[role, composed(text)] for role, text in messages]
    given = lookup(row, names["id"]) if names["id"] else None
    known = given is not None and given is not MISSING
    return Problem(
        id=composed(str(given)) if known else "problem-" + identity(content),
        prompt=prompt,
        messages=messages,
        answer=answer,
        also=also,
        cell={cell: row[cell] for cell in cells if isinstance(row.get(cell), str | int)},
        facts=facts,
    )


def _unpacked(value: Any) -> Any:
    """Messages that a table stores as JSON text; anything else unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[{", '{"')):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    listed = found if isinstance(found, list) else [found]
    return (
        listed
        if listed and all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in listed)
        else value
    )


def _messages(value: Any) -> tuple[tuple[str, str], ...]:
    """Role and text of each message; empty for plain text and for a single message of the user."""
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, str) or not isinstance(value, Sequence):
        return ()
    found = tuple((str(m["role"]), as_text(m) or "") for m in value if isinstance(m, Mapping) and m.get("role"))
    return () if len(found) < len(value) or [role for role, _ in found] == ["user"] else found


def _gold(where: str, raw: Any) -> tuple[str, str, str]:
    """The final answer, the layout in which it was found, and the worked solution around it."""
    if raw is MISSING or raw is None:
        return "", "", ""
    if isinstance(raw, bool | int | float):
        return str(raw), "", ""
    if not isinstance(raw, str):
        raise InputError(f"{where}: the answer is {type(raw).__name__}, not text", fix="name another column")
    if "####" in raw:
        return raw.rsplit("####", 1)[1].strip(), "gsm8k", raw
    box = last_box(raw)
    if box is not None:
        return box, "boxed", raw
    return raw, "", ""


def _saved_data_set(folder: Path, split: str) -> Iterable[Record]:
    if not any((folder / name).is_file() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
        raise UsageError(f"{folder} is a folder but not a saved data set", fix="name a .jsonl or .parquet file")
    data = need("datasets", f"reading the data set in {folder}").load_from_disk(str(folder))
    if isinstance(data, Mapping):
        if split not in data:
            known = ", ".join(data)
            what = f"has no split {split!r}" if split else "has several splits"
            raise UsageError(f"{folder} {what}", fix=f"write {folder.name}#SPLIT with one of {known}")
        return data[split]
    if split:
        raise UsageError(f"{folder} has no splits; {split!r} selects nothing", fix=f"write {folder}")
    return data
