"""Combine several tasks: problems of different worlds with one grader, order by transfer, averaged weights.

Formula, with ``a_j`` the score on task ``j``, ``0`` the start, ``i`` the policy trained on task ``i`` alone::

    B_ij      = a_j(i) - a_j(0)                         effect of training on i on j, float64 [task, task]
    final_j   = a_j(j) + sum over i after j of B_ij     predicted score of j at the end of an order
    order     = argmax over orders of sum_j sum_{i after j} B_ij

Denominator: none; scores are means over problems. Degenerate: ties go to the order that comes first.
Known bias: the prediction assumes that transfer does not depend on where training starts, and that a task is
learnt equally well whatever came before.
Source: a reconstruction of Omni-Thinker (2025, arXiv 2507.14783), whose text was not read whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.lab.session import Model, Session, loaded
from keyturn.policies.loading import save_policy
from keyturn.problems.contract import Grader, ProblemSet
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Grades
from keyturn.training.loop import duplicate
from keyturn.training.record import MODEL

EXACT = 6
"""Up to this number of tasks, every order is tried."""


def retained(order: Sequence[int], transfer: NDArray[np.float64]) -> float:
    """The total effect of later tasks on earlier ones in an order: the sum that the best order maximises."""
    return float(sum(transfer[later, task] for at, task in enumerate(order) for later in order[at + 1 :]))


def order_by_transfer(transfer: NDArray[np.float64]) -> tuple[int, ...]:
    """The order of tasks with the least loss; exact up to :data:`EXACT` tasks, otherwise by insertion."""
    size = len(transfer)
    if size <= EXACT:
        return max(permutations(range(size)), key=lambda order: retained(order, transfer))
    order: tuple[int, ...] = ()
    for task in range(size):
        places = [(*order[:at], task, *order[at:]) for at in range(len(order) + 1)]
        order = max(places, key=lambda found: retained(found, transfer))  # pyright: ignore
    return order


def predicted(
    order: Sequence[int], alone: NDArray[np.float64], transfer: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predicted final score of every task after an order, float64 ``[task]``.

    Args:
        order: of the tasks.
        alone: score of each task after training on it alone, float64 ``[task]``.
        transfer: float64 ``[task, task]``.
    """
    out = alone.astype(np.float64).copy()
    for at, task in enumerate(order):
        out[task] += sum(transfer[later, task] for later in order[at + 1 :])
    return out


def matched_temperature(temperatures: Sequence[float], nats: Sequence[float], target: float) -> float:
    """The temperature at which samples have entropy ``target``, interpolated between measured points.

    Entropy rises with temperature; where noise makes it fall between two points, the running maximum is used.
    Outside the measured range the nearest point is returned.
    """
    order = np.argsort(np.asarray(temperatures))
    rising = np.maximum.accumulate(np.asarray(nats, dtype=np.float64)[order])
    return float(np.interp(target, rising, np.asarray(temperatures, dtype=np.float64)[order]))


@dataclass(frozen=True)
class ManyGraders:
    """Judges problems of several worlds, each by its own grader; implements ``Grader``.

    Args:
        graders: value of ``cell["domain"]`` -> its grader.
    """

    graders: Mapping[str, Grader]

    @property
    def name(self) -> str:
        """The names of all graders."""
        return " and ".join(self.graders[domain].name for domain in sorted(self.graders))

    @property
    def reads_traces(self) -> bool:
        """True if all graders read traces."""
        return all(grader.reads_traces for grader in self.graders.values())

    def grade(self, problems: tuple[Problem, ...], completions: Completions) -> Grades:
        """Grade every row; a column that a domain lacks is empty or undefined there."""
        size = len(completions)
        outcome, verified = (np.full(size, np.nan, dtype=np.float32) for _ in range(2))
        answer = [""] * size
        columns: dict[str, NDArray] = {}
        domains = np.array([str(problem.cell.get("domain", "")) for problem in problems], dtype=object)
        for domain, grader in self.graders.items():
            own = np.flatnonzero(domains == domain)
            rows = np.flatnonzero(np.isin(completions.problem, own))
            if not len(rows):
                continue
            asked = tuple(problems[i] for i in own)
            found = grader.grade(asked, _onto(completions.select(rows), asked, own))
            outcome[rows], verified[rows] = found.outcome, found.verified
            for row, text in zip(rows.tolist(), found.answer, strict=True):
                answer[row] = text
            for name, column in found.columns.items():
                if column.dtype != object and column.dtype.kind != "f":
                    continue
                if name not in columns:
                    text = column.dtype == object
                    columns[name] = np.full(size, "" if text else np.nan, dtype=column.dtype)
                columns[name][rows] = column
        return Grades(outcome=outcome, verified=verified, answer=tuple(answer), columns=columns)


def _onto(completions: Completions, asked: tuple[Problem, ...], own: NDArray[np.int64]) -> Completions:
    """The rows of the problems ``own``, as completions of only these problems."""
    prompts = completions.prompts
    few = Prompts.build(
        [problem.id for problem in asked],
        [prompts.texts[i] for i in own],
        [prompts.row(int(i)).tolist() for i in own],
    )
    place = {int(old): new for new, old in enumerate(own)}
    return Completions(
        policy=completions.policy,
        prompts=few,
        problem=np.array([place[old] for old in completions.problem.tolist()], dtype=np.int32),
        draw=completions.draw,
        tokens=completions.tokens,
        offsets=completions.offsets,
        logprobs=completions.logprobs,
        entropies=completions.entropies,
        stop=completions.stop,
        texts=completions.texts,
    )


def dealt_together(name: str, sets: Sequence[ProblemSet]) -> ProblemSet:
    """Problems of several worlds, interleaved in turn, with one grader."""
    graders = {str(s.problems[0].cell.get("domain", "")): s.grader for s in sets}
    longest = max(len(s.problems) for s in sets)
    found = [s.problems[i] for i in range(longest) for s in sets if i < len(s.problems)]
    return ProblemSet(name=name, problems=tuple(found), grader=ManyGraders(graders))


def averaged(session: Session, models: Sequence[Model], *, label: str = "average") -> Model:
    """The average of the weights of several policies of the same shape."""

    def work(folder: Path) -> None:
        mean = duplicate(models[0].policy)
        parts = [model.policy.model.state_dict() for model in models]
        state = mean.model.state_dict()
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(sum(part[name] for part in parts) / len(parts))
        save_policy(folder / MODEL, mean.model, mean.tokenizer, session.task.world, None, overwrite=True)

    fields = {"policies": [model.policy for model in models]}
    parents = [model.stage for model in models if model.stage is not None]
    stage, policy = session.lab.stage(
        "average", fields, work, lambda f: loaded(session.task, f / MODEL), parents=parents, label=label
    )
    return Model(str(stage.folder / MODEL), policy, stage)
