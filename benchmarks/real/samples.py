"""The draws of the study as sample files: what was asked and answered, and the gold answer, never a verdict.

Every number of ``results.py`` is computed from these files, which are graded again each time they are read.
They are small enough to be committed (``docs/results/real``), so that a reader can check a number without a
model, and ``keyturn audit --samples`` reads them too.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import tasks

from keyturn.core.errors import InputError
from keyturn.core.rundir import write_bytes
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import grade_samples
from keyturn.problems.graders import GRADERS
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Answers
from keyturn.rollouts.readers import Samples, pair, read_samples

ENDING = ".jsonl.gz"


def place(folder: Path, group: str, policy: str) -> Path:
    """Where the draws of a policy are: ``pair-base.jsonl.gz``."""
    return folder / f"{group}-{policy}{ENDING}"


def write(path: Path, policy: str, asked: ProblemSet, completions: Completions) -> None:
    """Write draws, one a line, under the questions as they are without their worked examples."""
    lines = []
    for row, text in enumerate(completions.texts):
        problem = asked.problems[int(completions.problem[row])]
        line = {
            "problem_id": problem.id,
            "prompt": problem.id,
            "completion": text,
            "draw": int(completions.draw[row]),
            "gold": problem.answer,
            "truncated": bool(completions.stop[row] == Stop.LENGTH),
            "policy": policy,
            **problem.cell,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    # Without a time of day, so that the same draws make the same file.
    write_bytes(path, gzip.compress("".join(lines).encode(), mtime=0))


def paired(folder: Path, group: str, base: str, tuned: str) -> tuple[Answers, Answers]:
    """The draws of two policies on the problems of a group, graded.

    Raises:
        InputError: the folder does not have one of the files.
    """
    found = pair(_graded(place(folder, group, base)), _graded(place(folder, group, tuned)))
    return found.base, found.tuned


def _graded(file: Path) -> Samples:
    if not file.exists():
        raise InputError(f"{file} is not there", fix="run the part of the study that draws it")
    return grade_samples(read_samples(file), GRADERS["gsm8k"])


def drawn(folder: Path, group: str) -> list[str]:
    """The policies that have draws in a group."""
    names = [file.name.removesuffix(ENDING) for file in sorted(folder.glob(f"{group}-*{ENDING}"))]
    return [name.removeprefix(f"{group}-") for name in names]


def kind_of(cell: dict) -> str:
    """The kind of a problem in words: ``sums of three``."""
    number = {3: "three", 4: "four", 5: "five"}[int(cell["depth"])]
    return "word problems" if cell["domain"] == tasks.STORY else f"sums of {number}"
