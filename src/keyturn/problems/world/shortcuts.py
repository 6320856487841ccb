"""Shortcut audit: can the answer be told from the words of the prompt, without the steps that lead to it?

A logistic regression on how often each word occurs and on which word stands where (counted from both ends) is
fitted on problems that may be learnt from and tested on others of the same cell. An ``accuracy`` above the
``majority`` by more than chance is a short cut: a policy can be right, and RL can pay it, without reasoning.
Denominator: the test problems. Degenerate: one label only in training: it is then the guess everywhere.
Known bias: only linear short cuts are found; none found is not none there. Where the problems of a cell are few
and exactly balanced as a whole, what is held out leans against what was learnt, and the accuracy falls below
chance (INV at depths 1 and 2: to 0): that is the split, of no use to a policy that sees one side of it.
Source: Ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from keyturn.core.problem import Problem


class Shortcut(NamedTuple):
    """What a prompt-only classifier reaches.

    Args:
        accuracy: of the classifier on the test problems.
        majority: of the best constant answer there.
        problems: how many were tested.
    """

    accuracy: float
    majority: float
    problems: int

    @property
    def standard_error(self) -> float:
        """Of the majority rate."""
        return math.sqrt(self.majority * (1 - self.majority) / self.problems)


def answer(problem: Problem) -> str:
    """The answer, which is what is guessed by default."""
    return problem.answer


def audit(
    learn: Sequence[Problem],
    test: Sequence[Problem],
    *,
    label: Callable[[Problem], str] = answer,
    strength: float = 1.0,
) -> Shortcut:
    """Fit on some problems, test on others of the same cell.

    Args:
        learn: problems of splits that may be learnt from.
        test: problems that are not among them.
        label: what is to be guessed.
        strength: inverse of the ridge penalty.
    """
    wanted = np.array([label(problem) for problem in learn])
    truth = np.array([label(problem) for problem in test])
    majority = float(np.unique(truth, return_counts=True)[1].max() / len(truth))
    if len(np.unique(wanted)) < 2:
        return Shortcut(float(np.mean(truth == wanted[0])), majority, len(test))
    words = DictVectorizer()
    model = LogisticRegression(C=strength, max_iter=500)
    model.fit(words.fit_transform([_features(problem.prompt) for problem in learn]), wanted)
    guessed = model.predict(words.transform([_features(problem.prompt) for problem in test]))
    return Shortcut(float(np.mean(guessed == truth)), majority, len(test))


def _features(prompt: str) -> dict[str, float]:
    tokens = prompt.split()
    found: dict[str, float] = {}
    for place, token in enumerate(tokens):
        found[f"has {token}"] = found.get(f"has {token}", 0.0) + 1
        found[f"{place} {token}"] = 1.0
        found[f"{place - len(tokens)} {token}"] = 1.0
    return found
