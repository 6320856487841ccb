"""What is in the law of a policy beyond the tokens that it drew: its likely answers, and its tempered tokens.

:func:`likely` lists *all* answers to a problem with at least a given probability, by going through the tree of
beginnings and dropping each that falls below it: an answer is never likelier than its beginning. An answer
that reaches the length limit is an answer, cut there.
:func:`log_partitions` gives ``log sum_v p_t(v)^b`` at every token of given texts, the normaliser of a law that
is tempered token by token. Both are at temperature 1 and in float64.
Source: ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.policies.hooks import evaluating
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions

_ROWS = 512
"""Beginnings that are read at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Likely:
    """All answers with a probability of ``least`` or more.

    Args:
        least: the limit.
        problem: of each answer, int64 ``[answer]``.
        logprob: of each answer, float64 ``[answer]``.
        tokens: of each answer, the end included.
    """

    least: float
    problem: NDArray[np.int64]
    logprob: NDArray[np.float64]
    tokens: tuple[tuple[int, ...], ...]


def likely(policy: LocalPolicy, problems: Sequence[Problem], *, least: float, longest: int) -> Likely:
    """List them, problem by problem.

    Args:
        policy: whose law it is, without processors or interventions.
        problems: that are asked.
        least: probability, above 0.
        longest: tokens of an answer at most.

    Raises:
        UsageError: the limit is not a probability above 0.
    """
    if not 0 < least <= 1:
        raise UsageError(f"a limit of {least:g}", fix="a probability above 0")
    table = policy.prompts(problems)
    edge = float(np.log(least))
    found: list[tuple[int, float, tuple[int, ...]]] = []
    for number in range(len(problems)):
        prompt = table.row(number).tolist()
        alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        for written in range(longest):
            grown: list[tuple[float, tuple[int, ...]]] = []
            for first in range(0, len(alive), _ROWS):
                some = alive[first : first + _ROWS]
                logs = _next(policy, [[*prompt, *tokens] for _, tokens in some])
                total = logs + np.array([logprob for logprob, _ in some])[:, None]
                for row, token in np.argwhere(total >= edge).tolist():
                    answer = (*some[row][1], token)
                    if token in policy.ends or written + 1 == longest:
                        found.append((number, float(total[row, token]), answer))
                    else:
                        grown.append((float(total[row, token]), answer))
            alive = grown
    return Likely(
        least=least,
        problem=np.array([one[0] for one in found], dtype=np.int64),
        logprob=np.array([one[1] for one in found], dtype=np.float64),
        tokens=tuple(one[2] for one in found),
    )


def _next(policy: LocalPolicy, rows: list[list[int]]) -> NDArray[np.float64]:
    """Log-probabilities of the next token of rows of one length, ``[row, vocab]``."""
    with torch.no_grad(), evaluating(policy.model):
        read = policy.model(torch.tensor(rows, device=policy.model.device))
        return read.logits[:, -1].double().log_softmax(-1).cpu().numpy()


def log_partitions(
    policy: LocalPolicy, completions: Completions, powers: Sequence[float]
) -> NDArray[np.float64]:
    """``log sum_v p_t(v)^b`` for every power ``b``, at every token of the texts, ``[power, token]``.

    Args:
        policy: whose law is tempered.
        completions: the texts, behind their own prompts.
        powers: inverse temperatures.
    """
    out = np.zeros((len(powers), len(completions.tokens)))
    prompts = completions.prompts
    by_size: dict[tuple[int, int], list[int]] = {}
    for row in range(len(completions)):
        size = len(prompts.row(int(completions.problem[row])))
        by_size.setdefault((size, int(completions.lengths[row])), []).append(row)
    with torch.no_grad(), evaluating(policy.model):
        for (size, length), rows in by_size.items():
            for first in range(0, len(rows), _ROWS):
                some = rows[first : first + _ROWS]
                whole: list[Any] = [
                    [*prompts.row(int(completions.problem[row])).tolist(), *completions.row(row).tolist()]
                    for row in some
                ]
                logits = policy.model(torch.tensor(whole, device=policy.model.device)).logits
                logs = logits[:, size - 1 : size - 1 + length].double().log_softmax(-1)
                for number, power in enumerate(powers):
                    given = (power * logs).logsumexp(-1).cpu().numpy()
                    for own, row in zip(given, some, strict=True):
                        start = int(completions.offsets[row])
                        out[number, start : start + length] = own
    return out
