"""Worked examples in front of every problem: the few-shot prompt of a base model.

Plain text is ``Question: Q\\nAnswer: A`` for every example, a blank line behind each, and then the problem's
own question up to ``Answer:``. A chat template is given every example as a turn of the user's and one of the
assistant's. The problem keeps its id, so the same problem is paired with itself under any prompt.

A base that goes on with a next question of its own is stopped by a stop text, such as ``Question:``.
Source: the few-shot prompts of lm-eval's ``gsm8k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.problems.contract import ProblemSet

NEXT_QUESTION = "Question:"
"""What a model writes when it goes on with a question of its own."""


def solved(question: str, answer: str) -> str:
    """A question with its answer, as it stands in a prompt; without an answer, up to where one begins."""
    return f"{NEXT_QUESTION} {question}\nAnswer:" + (f" {answer}\n\n" if answer else "")


def with_examples(asked: ProblemSet, examples: Sequence[Problem]) -> ProblemSet:
    """The problems behind worked examples.

    Args:
        asked: the problems and their grader.
        examples: problems with a worked solution (the fact ``solution``), or with an answer alone. One that is
            asked too is refused.

    Raises:
        UsageError: no example, one without an answer, one that the grader does not count as right, or one that
            is asked too.
    """
    if not examples:
        raise UsageError("no worked examples", fix="a file of problems with solutions, or none")
    known = {problem.prompt for problem in asked.problems}
    for number, example in enumerate(examples, start=1):
        where = f"worked example {number} ({_begin(example.prompt)})"
        if not answer_of(example):
            raise UsageError(f"{where} has no answer", fix="give every example an answer or a solution")
        if example.prompt in known:
            raise UsageError(f"{where} is one of the problems that are asked", fix="keep the two files apart")
        judge: Any = getattr(asked.grader, "judge", None)
        if judge is not None and judge(example.golds, answer_of(example)) != 1:
            what = f"{where} is not right by the grader {asked.grader.name}"
            raise UsageError(what, fix="write its solution as the grader reads it, or name another --grader")
    before = "".join(solved(example.prompt, answer_of(example)) for example in examples)
    turns = tuple(
        turn for example in examples for turn in (("user", example.prompt), ("assistant", answer_of(example)))
    )
    problems = tuple(
        replace(
            one,
            prompt=before + solved(one.prompt, ""),
            messages=_behind(turns, one),
            facts={**one.facts, "examples": len(examples)},
        )
        for one in asked.problems
    )
    return replace(asked, problems=problems)


def answer_of(example: Problem) -> str:
    """What an example shows as its answer: the worked solution, or the answer alone."""
    return str(example.facts.get("solution") or example.answer).strip()


def gone_on_with(problem: Problem, text: str, *, chat: bool) -> str:
    """An answer as it stands behind a problem's prompt: after ``Answer:`` there is a space.

    Args:
        problem: with worked examples in front of it, or without.
        text: the answer.
        chat: whether a chat template is applied, where the answer is a turn of its own.
    """
    return f" {text}" if problem.facts.get("examples") and not chat and not text[:1].isspace() else text


def _behind(turns: tuple[tuple[str, str], ...], problem: Problem) -> tuple[tuple[str, str], ...]:
    """The examples as turns, after what the system says."""
    system = tuple(turn for turn in problem.turns if turn[0] == "system")
    rest = tuple(turn for turn in problem.turns if turn[0] != "system")
    return (*system, *turns, *rest)


def _begin(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
