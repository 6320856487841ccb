"""Training on problems that nobody can judge: refused or said before anything is drawn."""

from __future__ import annotations

from keyturn.core.errors import UsageError
from keyturn.lab.task import Task
from keyturn.problems.contract import ProblemSet
from keyturn.problems.graders.extraction import TextGrader
from keyturn.rewards.contract import Reward


def missing_answers(task: Task, reward: Reward | None) -> tuple[str, ...]:
    """What missing gold answers mean for a training, one sentence for each split that lacks some.

    Args:
        task: its problems.
        reward: what RL pays; None for a method of several stages, which may learn from solutions alone.

    Raises:
        UsageError: the reward reads verdicts, and no training problem can have one.
    """
    notes = []
    train = unjudged(task.train)
    if train and reward is not None and not reward.blind:
        if train == len(task.train.problems):
            judge = task.train.grader.name
            raise UsageError(
                f"none of the {train} training problems has a gold answer that the grader {judge} can read, "
                f"so that the reward {reward.name} is undefined for every draw",
                fix="a column 'answer' in the file of problems, or a reward that reads no answer "
                "(--reward majority or format)",
            )
        notes.append(_said(train, task.train, "training", "their draws are not paid and teach nothing"))
    elif train:
        pays = "what is paid or chosen by right answers leaves them out"
        learnt = pays if reward is None else "how often they are solved is not measured"
        notes.append(_said(train, task.train, "training", learnt))
    for part, problems in (("validation", task.validation), ("test", task.test)):
        without = unjudged(problems)
        if without:
            notes.append(_said(without, problems, part, "success on them is not measured"))
    return tuple(notes)


def unjudged(problems: ProblemSet) -> int:
    """How many problems have no gold answer that their grader can read.

    Graders that judge without gold answers (of a world, or a user's own) leave none, and a problem that says it
    cannot be answered lacks none.
    """
    grader = problems.grader
    if not isinstance(grader, TextGrader):
        return 0
    return sum(
        problem.facts.get("answerable", True) is not False and not grader.wanted(problem.golds)
        for problem in problems.problems
    )


def _said(count: int, problems: ProblemSet, part: str, what: str) -> str:
    whole, judge = len(problems.problems), problems.grader.name
    return f"{count} of {whole} {part} problems have no gold answer that the grader {judge} can read: {what}"
