"""Graded rollouts made by hand for the tests of rewards."""

import numpy as np

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.graders import GRADERS
from keyturn.rewards.contract import Graded, rewards_of
from keyturn.rollouts.completions import Completions, Prompts, Stop, ragged
from keyturn.rollouts.grades import Grades

NAN = float("nan")


def drawn(problems, rows, *, stops=None, tokens=None):
    """Completions from rows ``(problem, draw, text)``; a token a character unless they are given."""
    flat, offsets = ragged([[ord(c) for c in text] for _, _, text in rows] if tokens is None else tokens)
    ids = [problem.id for problem in problems]
    return Completions(
        policy="p",
        prompts=Prompts.build(ids, [problem.prompt for problem in problems], [[1]] * len(ids)),
        problem=np.array([row[0] for row in rows], dtype=np.int32),
        draw=np.array([row[1] for row in rows], dtype=np.int32),
        tokens=flat,
        offsets=offsets,
        logprobs=np.zeros(len(flat), np.float32),
        entropies=np.zeros(len(flat), np.float32),
        stop=np.array([Stop.EOS] * len(rows) if stops is None else stops, dtype=np.uint8),
        texts=tuple(row[2] for row in rows),
    )


def graded(outcome, texts=None, *, answers=None, facts=None, root=0, tokens=None, stops=None, **columns):
    """One group on one problem, whose gold answer is 3."""
    texts = [""] * len(outcome) if texts is None else texts
    problems = (Problem(id="a", prompt="?", answer="3", facts=facts or {}),)
    return Graded(
        problems=problems,
        completions=drawn(problems, [(0, i, text) for i, text in enumerate(texts)], tokens=tokens, stops=stops),
        grades=grades(outcome, answers or [""] * len(outcome), **columns),
        streams=Streams(root),
    )


def grades(outcome, answers, **columns):
    outcome = np.array(outcome, dtype=np.float32)
    return Grades(
        outcome=outcome,
        verified=outcome,
        answer=tuple(answers),
        columns={name: column(values) for name, values in columns.items()},
    )


def column(values):
    return np.array(values, dtype=object if isinstance(values[0], str) else np.float32)


def by_text(grader, problems, rows, *, stops=None, root=0):
    """Rows on problems of text, graded by one of our graders."""
    completions = drawn(problems, rows, stops=stops)
    return Graded(
        problems=tuple(problems),
        completions=completions,
        grades=GRADERS[grader].grade(tuple(problems), completions),
        streams=Streams(root),
    )


def select(whole, rows):
    """Some rows of a rollout, in the order given."""
    rows = np.asarray(rows)
    part = whole.completions.select(rows)
    found = whole.grades
    return Graded(
        problems=whole.problems,
        completions=part,
        grades=Grades(
            outcome=found.outcome[rows],
            verified=found.verified[rows],
            answer=tuple(found.answer[i] for i in rows),
            columns={name: column[rows] for name, column in found.columns.items()},
        ),
        streams=whole.streams,
    )


def given(reward, of):
    return rewards_of(reward, of)
