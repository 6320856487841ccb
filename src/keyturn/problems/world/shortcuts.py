"""Shortcut audit: can the answer be predicted from the words of the prompt, without any steps?

A logistic regression on word counts and on the word at each position (counted from both ends) is fitted on
training problems and tested on others of the same cell. An ``accuracy`` above the ``majority`` by more than
chance
is a shortcut: a policy can be right, and RL can reward it, without reasoning.
Denominator: the test problems. Degenerate: if training has one label only, it is the guess everywhere.
Known bias: only linear shortcuts are found; others may exist. If the problems of a cell are few and exactly
balanced as a whole, held-out problems are biased against what was learnt, and the accuracy falls below chance
(INV at depths 1 and 2: to 0). This comes from the split and is of no use to a policy, which sees one side only.
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
    """The result of a prompt-only classifier.

    Args:
        accuracy: accuracy of the classifier on the test problems.
        majority: accuracy of the best constant answer there.
        problems: number of test problems.
    """

    accuracy: float
    majority: float
    problems: int

    @property
    def standard_error(self) -> float:
        """Standard error of the majority rate."""
        return math.sqrt(self.majority * (1 - self.majority) / self.problems)


def answer(problem: Problem) -> str:
    """The answer, which is the default label."""
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
        learn: problems of splits for training.
        test: other problems.
        label: what is to be predicted.
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
