"""Sequential revision: the policy reads its answer and writes another one, several times; the last one counts.

Plain text goes on behind the answer and a request. Through a chat template the answer and the request are
turns of their own. What is returned is the last answer alone, behind the first prompt.

Source: Snell et al. 2024 (2408.03314); for models that were not trained to think: 2504.14047.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from keyturn.core.errors import UsageError
from keyturn.core.problem import Problem
from keyturn.elicitation.contract import Asked, Elicitation, ElicitationMethod, Prepared
from keyturn.elicitation.drafts import costs_of
from keyturn.policies.client import ServerPolicy
from keyturn.policies.local import LocalPolicy
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True)
class RevisionConfig:
    """Settings of sequential revision."""

    rounds: int = 2
    """How often the answer is written anew."""
    request: str = "Check the answer above, and answer the question again."
    """Asks for another answer."""


def answer(asked: Asked, config: RevisionConfig, prepared: Prepared) -> Elicitation:
    """Answer, then answer again."""
    if config.rounds < 0 or (config.rounds and not config.request.strip()):
        raise UsageError("--rounds is negative, or --request is empty", fix="0 or more, and a sentence")
    problems = asked.problems.problems
    drawn = asked.policy.draw(problems, asked.draws, asked.streams, asked.limits)
    costs, last = costs_of(drawn), drawn
    turns = [problems[index] for index in drawn.problem.tolist()]
    for number in range(config.rounds):
        turns = [
            revised(problem, text, config.request, chat=_chat(asked))
            for problem, text in zip(turns, last.texts, strict=True)
        ]
        named = tuple(replace(one, id=f"{one.id}#{draw}") for one, draw in zip(turns, drawn.draw, strict=True))
        streams = asked.streams.child("revision", number)
        last = asked.policy.draw(named, range(1), streams, asked.limits)
        costs = costs + costs_of(last)
    kept: Completions = (
        last if last is drawn else replace(last, prompts=drawn.prompts, problem=drawn.problem, draw=drawn.draw)
    )
    return Elicitation(completions=kept, costs=costs)


def revised(problem: Problem, text: str, request: str, *, chat: bool) -> Problem:
    """The problem with an answer and the request for another one."""
    if chat:
        return replace(problem, messages=(*problem.turns, ("assistant", text), ("user", request)))
    return replace(problem, prompt=f"{problem.prompt}{_apart(text)}{text.rstrip()}\n\n{request}\n")


def _apart(text: str) -> str:
    return "" if text[:1].isspace() else " "


def _chat(asked: Asked) -> bool:
    policy = asked.policy
    if isinstance(policy, ServerPolicy):
        return policy.config.route == "chat"
    return isinstance(policy, LocalPolicy) and policy.chat


METHOD = ElicitationMethod(
    name="revision",
    summary="the policy reads its answer and writes another one; the last one counts",
    source="Snell et al. 2024, arXiv 2408.03314",
    cost="3 answers behind ever longer prompts",
    control=("self-consistency",),
    config=RevisionConfig(),
    neutral=RevisionConfig(rounds=0),
    answer=answer,
)
