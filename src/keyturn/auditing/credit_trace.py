"""Follows one token's credit from problem to gradient in six steps, each a file, a function and a number.

The trace calls the same functions as training, on one group of draws. So the page made from it cannot go stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective, PolicyTokens, total
from keyturn.policies.batching import Texts
from keyturn.policies.local import LocalPolicy
from keyturn.policies.protocol import Limits
from keyturn.policies.scorer import policy_tokens
from keyturn.problems.contract import Grader
from keyturn.rewards.contract import Graded, Reward, rewards_of
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.training.batches import rollout_batch
from keyturn.training.rollout import Sampled

SEARCHED = 64
"""Number of problems searched for a group whose draws do not all get the same reward."""


@dataclass(frozen=True, kw_only=True)
class TraceStep:
    """One step of the trace.

    Args:
        what: what happens in this step.
        where: the module and function that do it.
        numbers: name -> value.
    """

    what: str
    where: str
    numbers: dict[str, Json]


@dataclass(frozen=True, kw_only=True)
class CreditTrace:
    """The complete trace of one token."""

    problem: Problem
    draws: tuple[str, ...]
    draw: int
    token: int
    text: str
    stops: tuple[TraceStep, ...]


def trace_credit(
    policy: LocalPolicy,
    problems: tuple[Problem, ...],
    grader: Grader,
    reward: Reward,
    objective: Objective,
    streams: Streams,
    *,
    group: int = 8,
    max_new_tokens: int = 64,
    token: int = -1,
) -> CreditTrace:
    """Follow one token of the first success in the first group whose rewards differ.

    Args:
        policy: the policy that is sampled and differentiated.
        problems: the problems, searched in order.
        grader, reward, objective: as in training.
        streams: random streams of the draws.
        group: draws per problem.
        max_new_tokens: length limit.
        token: position in the completion; -1: the first result of an operation, or else the first token.

    Raises:
        UsageError: no group among the first problems has different rewards, or there is no such token.
    """
    if objective.needs:
        raise UsageError(
            f"{objective.name} needs {', '.join(sorted(objective.needs))}, which one group does not have",
            fix="choose another objective",
        )
    rollout = Sampled(group, Limits(max_new_tokens=max_new_tokens))
    for problem in problems[:SEARCHED]:
        drawn = rollout({"policy": policy}, [problem], streams).completions
        grades = grader.grade((problem,), drawn)
        rewards = rewards_of(
            reward, Graded(problems=(problem,), completions=drawn, grades=grades, streams=streams)
        )
        if len(set(rewards.tolist())) > 1 and np.isfinite(rewards).all():
            break
    else:
        raise UsageError(f"all groups among {SEARCHED} problems have equal rewards", fix="try another seed")
    row = int(np.argmax(rewards))
    roles = _roles(drawn, grades, row)
    place = _place(token, roles)
    first = _until_reward(
        policy, problem, grader, reward, drawn, grades, rewards, row, place, Role(int(roles[place]))
    )
    last = _until_gradient(policy, objective, drawn, grades, rewards, max_new_tokens, row, place)
    return CreditTrace(
        problem=problem,
        draws=drawn.texts,
        draw=row,
        token=place,
        text=str(drawn.texts[row]),
        stops=(*first, *last),
    )


def _words(problem: Problem) -> str:
    return ", ".join(f"{key} {value}" for key, value in problem.cell.items())


def _roles(drawn: Completions, grades: Grades, row: int) -> NDArray[np.uint8]:
    part = slice(int(drawn.offsets[row]), int(drawn.offsets[row + 1]))
    return np.zeros(part.stop - part.start, np.uint8) if grades.roles is None else grades.roles[part]


def _until_reward(
    policy: LocalPolicy,
    problem: Problem,
    grader: Grader,
    reward: Reward,
    drawn: Completions,
    grades: Grades,
    rewards: NDArray[np.float32],
    row: int,
    place: int,
    role: Role,
) -> tuple[TraceStep, ...]:
    flat = int(drawn.offsets[row]) + place
    return (
        TraceStep(
            what="a problem is asked",
            where="keyturn.problems",
            numbers={"prompt": problem.prompt, "answer": problem.answer, "cell": _words(problem)},
        ),
        TraceStep(
            what=f"token {place} of draw {row} is drawn",
            where=_where(LocalPolicy.draw),
            numbers={
                "token": str(policy.tokenizer.decode([int(drawn.tokens[flat])])),
                "log-probability": _number(drawn.logprobs[flat]),
                "entropy (nats)": _number(drawn.entropies[flat]),
            },
        ),
        TraceStep(
            what="the completion is judged",
            where=_where(type(grader).grade),
            numbers={
                "outcome": _number(grades.outcome[row]),
                "verified": _number(grades.verified[row]),
                "role of the token": role.name.lower(),
            },
        ),
        TraceStep(
            what="the verdict becomes a reward",
            where=_where(reward.reward),
            numbers={"reward": _number(rewards[row]), "mean of the group": _number(rewards.mean())},
        ),
    )


def _until_gradient(
    policy: LocalPolicy,
    objective: Objective,
    drawn: Completions,
    grades: Grades,
    rewards: NDArray[np.float32],
    max_new_tokens: int,
    row: int,
    place: int,
) -> tuple[TraceStep, ...]:
    batch = rollout_batch(drawn, rewards, max_new_tokens=max_new_tokens, roles=grades.roles)
    with torch.no_grad():
        credit = objective.credit(batch)
    batch = replace(batch, credit=credit)
    scores = policy_tokens(policy.model, Texts.of(drawn), temperature=policy.sampling.temperature)
    terms = objective.loss(PolicyTokens(scores.logprobs, scores.entropies), batch)
    loss = total(terms, {term.name: term.denominator for term in terms})
    (gradient,) = torch.autograd.grad(loss, scores.logprobs)
    now = scores.logprobs[row, place].detach()
    return (
        TraceStep(
            what="rewards become credit on every token",
            where=_where(objective.credit),
            numbers={"credit of the token": _number(credit[row, place])},
        ),
        TraceStep(
            what="credit becomes loss, loss becomes gradient",
            where=_where(objective.loss),
            numbers={
                "log-probability now": _number(now),
                "ratio": _number(torch.exp(now - batch.behaviour_logprobs[row, place])),
                "denominator": _number(terms[0].denominator),
                "loss": _number(loss.detach()),
                "d loss / d log-probability": _number(gradient[row, place]),
            },
        ),
    )


def _place(token: int, roles: np.ndarray) -> int:
    if token >= len(roles):
        raise UsageError(f"the completion has {len(roles)} tokens", fix=f"--token 0 to {len(roles) - 1}")
    if token >= 0:
        return token
    results = np.flatnonzero(roles == Role.ARITHMETIC)
    return int(results[0]) if len(results) else 0


def _number(value: Any) -> Json:
    return json_number(round(float(value), 6))


def _where(function: Callable[..., Any]) -> str:
    """Module and name of a function; for a lambda that passes its arguments on, of the function it calls."""
    inner: Any = getattr(function, "func", function)
    if inner.__name__ == "<lambda>":
        called = inner.__globals__.get(inner.__code__.co_names[0]) if inner.__code__.co_names else None
        inner = called if callable(called) else inner
    return f"{inner.__module__}.{inner.__qualname__}".replace(".<locals>", "")
