"""A policy whose success is known: so likely as it is asked plainly, and so likely behind a trigger."""

import hashlib

import numpy as np

from keyturn.core.problem import Problem
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import known_grader
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged

TRIGGER = "step by step"
LETTERS = [chr(ord("a") + i) * 3 for i in range(26)]


def problem_set(count):
    """Sums whose answers cannot be guessed."""
    found = [
        Problem(id=f"p{i}", prompt=f"What is {i} plus {1000 + 7 * i}?", answer=str(1000 + 8 * i))
        for i in range(count)
    ]
    return ProblemSet(name="sums", problems=tuple(found), grader=known_grader("numeric"))


class Planted:
    """Answers with a number behind some words.

    Args:
        plain: probability of a right answer.
        behind: the same where the prompt holds the trigger.
        words: words of an answer, which cost tokens.
    """

    can = frozenset()

    def __init__(self, name, plain, behind=None, words=3):
        self.name, self.plain, self.behind, self.words = name, plain, plain if behind is None else behind, words

    @property
    def fingerprint(self):
        """Of everything that decides its answers."""
        return hashlib.sha256(repr(vars(self)).encode()).hexdigest()

    def draw(self, problems, draws, streams, limits):
        """Answers, each by its own random numbers."""
        rows = [(index, draw) for index in range(len(problems)) for draw in draws]
        texts = []
        for index, draw in rows:
            problem = problems[index]
            dice = streams.generator("sample", problem.id, draw)
            likely = self.behind if TRIGGER in problem.prompt else self.plain
            right = dice.random() < likely
            wrong = str(int(dice.integers(10**6, 10**8)))
            said = problem.answer if right else wrong
            texts.append(
                " ".join(
                    [*(LETTERS[int(dice.integers(26))] for _ in range(self.words)), f"The answer is {said}."]
                )
            )
        tokens, offsets = ragged([[0] * (self.words + 1) for _ in rows])
        flat = np.full(len(tokens), np.nan, dtype=np.float32)
        ids = [one.id for one in problems]
        return Completions(
            policy=self.fingerprint,
            prompts=Prompts.build(ids, [one.prompt for one in problems], [[] for _ in problems]),
            problem=np.array([index for index, _ in rows], dtype=np.int32),
            draw=np.array([draw for _, draw in rows], dtype=np.int32),
            tokens=tokens,
            offsets=offsets,
            logprobs=flat,
            entropies=flat,
            stop=np.full(len(rows), Stop.EOS, dtype=np.uint8),
            texts=tuple(texts),
        )

    def score(self, completions, *, advance=None):
        """It has no probabilities."""
        raise NotImplementedError
