"""Rows for supervised fitting: worked solutions and draws, as tokens with weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.lab.task import Task
from keyturn.policies.fit import Row
from keyturn.policies.local import LocalPolicy
from keyturn.policies.prompting import encode_answer
from keyturn.problems.examples import gone_on_with
from keyturn.rollouts.completions import Completions, ragged


def supervised(policy: LocalPolicy, pairs: Sequence[tuple[Problem, str]], *, weight: float = 1.0) -> list[Row]:
    """Rows that train the policy to answer prompts with given texts.

    The answer and its end token carry weight, the prompt carries none.

    Args:
        policy: the policy whose tokenizer and prompt format are used.
        pairs: each problem with the text of its answer, without the end of sequence.
        weight: weight of every answer token.
    """
    prompts = policy.prompts([problem for problem, _ in pairs])
    rows = []
    for index, (problem, text) in enumerate(pairs):
        answer = encoded(policy, gone_on_with(problem, text, chat=policy.chat))
        rows.append(row_of(prompts.row(index), answer, weight))
    return rows


def demonstration_completions(policy: LocalPolicy, pairs: Sequence[tuple[Problem, str]]) -> Completions:
    """Texts as completions, one draw per problem: demonstrations for objectives that read completions.

    Args:
        policy: the policy whose tokenizer and prompt format are used.
        pairs: each problem with the text of its answer. Log-probabilities and entropies are NaN, because no
            policy drew the texts.
    """
    prompts = policy.prompts([problem for problem, _ in pairs])
    written = [gone_on_with(problem, text, chat=policy.chat) for problem, text in pairs]
    tokens, offsets = ragged([encoded(policy, text) for text in written])
    unknown = np.full(len(tokens), np.nan, np.float32)
    return Completions(
        policy="shown",
        prompts=prompts,
        problem=np.arange(len(pairs), dtype=np.int32),
        draw=np.zeros(len(pairs), np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=unknown,
        entropies=unknown,
        stop=np.zeros(len(pairs), np.uint8),
        texts=tuple(written),
    )


def encoded(policy: LocalPolicy, text: str) -> list[int]:
    """The tokens of an answer, with its end token exactly once."""
    return encode_answer(policy.tokenizer, text, turn=policy.turn, ends=policy.ends)


def rows_from_draws(completions: Completions, rows: Sequence[int]) -> list[Row]:
    """Rows that train on what was drawn, token by token, including the end token."""
    return [
        row_of(completions.prompts.row(int(completions.problem[i])), completions.row(int(i)).tolist())
        for i in rows
    ]


def row_of(prompt: Sequence[int] | np.ndarray, answer: Sequence[int], weight: float = 1.0) -> Row:
    """One row: a prompt without weight and an answer with weight."""
    tokens = np.concatenate([np.asarray(prompt, np.int32), np.asarray(answer, np.int32)])
    weights = np.zeros(len(tokens), np.float32)
    weights[len(prompt) :] = weight
    return Row(tokens=tokens, weights=weights)


def demonstrations(task: Task, problems: Sequence[Problem], streams: Streams) -> list[tuple[Problem, str]]:
    """Problems with the expert's solutions. Problems without a solution are left out.

    Raises:
        UsageError: there is no expert, or no problem has a solution.
    """
    if task.expert is None:
        raise UsageError(
            "these problems have no worked solutions to learn from",
            fix="a column 'solution' in the file, or a world's problems",
        )
    written = [(problem, task.expert(problem, streams)) for problem in problems]
    found = [(problem, text) for problem, text in written if text]
    if not found:
        raise UsageError("the expert solves none of these problems", fix="problems with worked solutions")
    return found


def digest(rows: Sequence[Row]) -> str:
    """A hash of the content of rows."""
    mixed = hashlib.sha256()
    for item in rows:
        mixed.update(len(item.tokens).to_bytes(4, "little") + item.tokens.tobytes() + item.weights.tobytes())
    return mixed.hexdigest()[:16]
