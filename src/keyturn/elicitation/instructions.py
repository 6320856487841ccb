"""Instructions before the question: how a search places them, what it learns of its trials, and the best one.

What a search learns of a trial decides what its gain can mean. Told only right or wrong, it can bring out
what the policy holds. Told the gold answers, it can write them into the prompt, which is no elicitation. Told
the faces of a coin, it chooses blindly: what it still gains is an effect of any instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.elicitation.contract import Prepared
from keyturn.elicitation.format_prompt import last_of_user

Feedback: TypeAlias = Literal["verdicts", "answers", "coins"]
FEEDBACK: tuple[Feedback, ...] = ("verdicts", "answers", "coins")


def instructed(problems: Sequence[Problem], instruction: str, between: str) -> tuple[Problem, ...]:
    """Problems whose prompts, or last messages of the user, begin with an instruction.

    Args:
        problems: what is asked.
        instruction: the text; with an empty one the problems stay as they are.
        between: stands between instruction and question.
    """
    if not instruction:
        return tuple(problems)

    def whole(text: str) -> str:
        return f"{instruction}{between}{text}"

    return tuple(replace(p, prompt=whole(p.prompt), messages=last_of_user(p.messages, whole)) for p in problems)


def coin(streams: Streams, candidate: str, problem: Problem, trial: int = 0) -> float:
    """0 or 1 for a candidate and a problem, always the same for the two and of no relation to any answer."""
    return float(streams.key("coin", candidate, problem.id, trial) & 1)


def best(prepared: Prepared, texts: str) -> str:
    """The candidate with the highest success, the earliest of equal ones; unknown success counts least.

    Args:
        prepared: with ``success`` of each candidate.
        texts: name of the array of candidates.
    """
    success = np.nan_to_num(prepared["success"], nan=-1.0)
    return str(prepared[texts][int(success.argmax())])
