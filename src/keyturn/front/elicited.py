"""What ``keyturn.elicit`` returns: answers, their success and their costs, and the sample file that holds
them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keyturn.core.extras import need
from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.rundir import write_json
from keyturn.core.text import one_line
from keyturn.elicitation.contract import Asked, Costs, ElicitationMethod, Prepared
from keyturn.elicitation.stage import Elicited as Done
from keyturn.lab.tables import accuracy
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Answers, Grades
from keyturn.rollouts.readers import Samples, write_samples

if TYPE_CHECKING:
    import pandas

SAMPLES, RESULT = "samples.jsonl", "elicitation.json"
PREPARED = "prepared.safetensors"
"""Files of a run directory: answers, what stands in :meth:`Elicited.to_json`, and what the method prepared."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Elicited:
    """Answers of a policy under an elicitation method.

    Args:
        method: the method's name.
        model: what answered.
        folder: the run directory.
        samples: the file of answers, which :func:`keyturn.audit` reads.
        completions: the answers.
        answers: the answers with their grades, as measures read them.
        costs: of each answer.
        facts: further numbers of each answer by name.
        success: mean success over problems, with its interval.
        examples: problems whose gold answers the method used.
        weights: numbers in the weights of the models that answered that are not the policy's.
        prepared: what the method made once for all problems, as arrays by name.
    """

    method: str
    model: str
    folder: Path
    samples: Path
    completions: Completions
    answers: Answers
    costs: Costs
    facts: Mapping[str, Any]
    success: Estimate
    examples: int
    weights: int
    prepared: Prepared

    @classmethod
    def of(
        cls,
        folder: Path,
        method: ElicitationMethod,
        model: str,
        done: Done,
        grades: Grades,
        answers: Answers,
        asked: Asked,
    ) -> Elicited:
        """What was done, with its sample file and its summary written to the run directory."""
        path = folder / SAMPLES
        write_samples(
            path, _samples(f"{method.name} of {model}", path, done.elicitation.completions, grades, asked)
        )
        found = cls(
            method=method.name,
            model=model,
            folder=folder,
            samples=path,
            completions=done.elicitation.completions,
            answers=answers,
            costs=done.elicitation.costs,
            facts=done.elicitation.facts,
            success=accuracy(answers, asked.streams.child("scores", method.name)),
            examples=done.examples,
            weights=done.weights,
            prepared=done.prepared,
        )
        write_json(folder / RESULT, found.to_json())
        return found

    @property
    def unit(self) -> str:
        """What counts as success."""
        return "verified answers" if self.answers.reads_traces else "right answers"

    @property
    def right(self) -> float:
        """Share of answers that are right, whatever their traces are; NaN where none is graded."""
        return _mean(self.answers.outcome)

    def cost(self) -> dict[str, Json]:
        """Means over answers of what each cost; null where a server does not say."""
        columns = self.costs.columns()
        means: dict[str, Json] = {name: json_number(_mean(one)) for name, one in columns.items()}
        # Of the tokens that stand in the answers: steered ones are counted there.
        length = float(self.completions.lengths.sum())
        means["share_steered"] = json_number(float(columns["steered"].sum()) / length if length else math.nan)
        return {**means, "examples": self.examples, "weights_changed": self.weights}

    def to_json(self) -> dict[str, Json]:
        """The summary as one document."""
        return {
            "method": self.method,
            "model": self.model,
            "samples": str(self.samples),
            "problems": len(self.answers.problems),
            "answers": len(self.completions),
            "unit": self.unit,
            "success": self.success.to_json(),
            "right": json_number(self.right),
            "cost": self.cost(),
            "facts": {name: json_number(_mean(one)) for name, one in self.facts.items()},
            "prepared": {name: _few(one) for name, one in self.prepared.items()},
        }

    def to_frame(self) -> pandas.DataFrame:
        """One row an answer: problem, draw, success, and what it cost.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        table = self.answers
        columns: dict[str, Any] = {
            "problem": [table.problems[index].id for index in table.problem.tolist()],
            "draw": table.draw,
            "success": table.success,
            "answer": list(table.answer),
            "completion": list(self.completions.texts),
        }
        return need("pandas", "a data frame").DataFrame({**columns, **self.costs.columns(), **self.facts})

    def __repr__(self) -> str:
        told = f"{self.success.value:.3f} [{self.success.low:.3f}, {self.success.high:.3f}] {self.unit}"
        return f"Elicited({one_line(self.method, 60)} of {one_line(self.model, 80)}: {told}; {self.samples})"


def _samples(policy: str, path: Path, completions: Completions, grades: Grades, asked: Asked) -> Samples:
    """The answers as a sample file holds them, under the problems as they are asked plainly."""
    problems = [asked.problems.problems[index] for index in completions.problem.tolist()]
    return Samples(
        source=str(path),
        policy=policy,
        problem=tuple(one.id for one in problems),
        prompts=tuple(one.prompt for one in problems),
        texts=completions.texts,
        final=completions.texts,
        answered=completions.stop != Stop.ERROR,
        success=grades.outcome,
        verified=grades.verified,
        gold=tuple(one.answer for one in problems),
        also={one.id: one.also for one in asked.problems.problems if one.also},
        answer=grades.answer,
        draw=completions.draw,
        truncated=completions.stop == Stop.LENGTH,
        cuts_known=True,
        cells=tuple(dict(one.cell) for one in problems),
    )


def _mean(values: Any) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else math.nan


def _few(values: Any) -> Json:
    """A small array as a list; of a large one its shape."""
    array = np.asarray(values)
    if array.size > 64:
        return f"{array.dtype} {list(array.shape)}"
    if array.dtype.kind in "US":
        return [str(one) for one in array.reshape(-1).tolist()]
    return [json_number(float(one)) for one in array.reshape(-1).tolist()]
