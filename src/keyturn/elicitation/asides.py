"""Asides: the policy is asked something else about a problem, in a context of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.elicitation.choosing import canonical
from keyturn.elicitation.contract import Asked, Costs
from keyturn.elicitation.drafts import Drafts, costs_of
from keyturn.rollouts.completions import Completions


def asking(problem: Problem, parts: Sequence[str]) -> Problem:
    """The problem with further words after it, a paragraph each; empty ones are left out. Without any it is the
    problem itself.

    Through a chat template they belong to the user's turn.
    """
    said = [part.strip() for part in parts if part.strip()]
    if not said:
        return problem
    behind = "\n\n".join(said)
    turns = problem.turns
    if turns and turns[-1][0] == "user":
        turns = (*turns[:-1], ("user", f"{turns[-1][1]}\n\n{behind}"))
    return replace(problem, prompt=f"{problem.prompt}\n\n{behind}\n", messages=turns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """What the policy said in an aside, one entry a row.

    Args:
        drawn: the texts, behind the prompts of the asides.
        costs: of each.
    """

    drawn: Completions
    costs: Costs

    @property
    def texts(self) -> tuple[str, ...]:
        """The words."""
        return self.drawn.texts


def aside(asked: Asked, problems: Sequence[Problem], names: Sequence[str], label: str, tokens: int = 0) -> Said:
    """Ask the policy one question for every row.

    Args:
        asked: policy, streams and limits.
        problems: what is asked, one a row.
        names: one a row, distinct; they name the random numbers.
        label: of this aside.
        tokens: most tokens; 0: as many as an answer.
    """
    limits = asked.limits if not tokens else replace(asked.limits, max_new_tokens=tokens)
    named = tuple(replace(one, id=name) for one, name in zip(problems, names, strict=True))
    drawn = asked.policy.draw(named, range(1), asked.streams.child("aside", label), limits)
    return Said(drawn=drawn, costs=costs_of(drawn))


def onto(asked: Asked, said: Said, plain: Sequence[int], draws: Sequence[int]) -> Completions:
    """The texts of an aside as answers to the asked problems, behind their plain prompts.

    Args:
        asked: the problems.
        said: the texts.
        plain: number of the problem of each row.
        draws: number of the draw of each row.
    """
    prompts = Drafts(asked).prompts
    return replace(
        said.drawn,
        prompts=prompts,
        problem=np.asarray(plain, dtype=np.int32),
        draw=np.asarray(draws, dtype=np.int32),
    )


def same_answer(asked: Asked, texts: Completions, answers: Sequence[str]) -> NDArray[np.float64]:
    """Whether the grader finds in a text the answer that was given in the end, ``[row]``: an aside that was not
    to solve the problem, and did.

    Args:
        asked: problems and grader.
        texts: asides, behind plain prompts.
        answers: given in the end, one a row.
    """
    found = asked.answers(texts)
    return np.array(
        [bool(a) and bool(b) and canonical(a) == canonical(b) for a, b in zip(found, answers, strict=True)],
        dtype=np.float64,
    )
