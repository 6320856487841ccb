"""What elicitation methods are given: a policy, problems, and development problems of which none is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keyturn.auditing.embedded import world_problems
from keyturn.auditing.opening import DEFAULT_TOKENS
from keyturn.auditing.sides import Side, problems_in
from keyturn.core.errors import UsageError
from keyturn.core.streams import Streams
from keyturn.elicitation.contract import Asked, Exemplar
from keyturn.lab.task import world_expert
from keyturn.policies.by_name import Loading
from keyturn.policies.local import LocalPolicy
from keyturn.policies.prompting import MOST_UNKNOWN, unreadable
from keyturn.policies.protocol import Limits
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.worlds import World
from keyturn.problems.world.worlds import problems as world_split

SHOWN = 64
"""Most worked solutions that are taken from development problems."""
HELD_OUT = 8
"""Development problems per cell of a world."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user specified apart from method and model."""

    problems: Any
    development: Any
    grader: str
    limit: int
    per_cell: int
    max_new_tokens: int
    draws: int

    def check(self) -> None:
        """Refuse numbers below their minimum."""
        check_sizes(vars(self))


def check_sizes(given: Mapping[str, Any]) -> None:
    """Refuse numbers below their minimum.

    Args:
        given: arguments by name, with limit, per_cell, max_new_tokens and draws among them.

    Raises:
        UsageError: one is too small.
    """
    for name, least in (("limit", 0), ("per_cell", 1), ("max_new_tokens", 0), ("draws", 1)):
        if given[name] < least:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is {given[name]}", fix=f"a number of {least} or more")


def asked_of(
    side: Side,
    request: Request,
    loading: Loading,
    streams: Streams,
    *,
    kept: Path | None,
    teacher: Side | None = None,
) -> Asked:
    """Policy, problems and development problems as methods are given them.

    Args:
        side: who answers.
        request: what the user specified.
        loading: how models are loaded and asked.
        streams: all randomness.
        kept: where a server's answers are kept.
        teacher: a second model for methods that look at one.

    Raises:
        UsageError: the model has no world, and no problems were given.
    """
    world = side.world
    if request.problems is None and world is None:
        what = (
            f"{side.place or side.name} was not made in a controlled world, so it brings no problems of its own"
        )
        raise UsageError(what, fix="--problems FILE")
    if request.problems is None and (request.grader != "auto" or request.limit):
        raise UsageError("a world brings its own problems and grader", fix="leave --grader and --limit out")
    asked, tokens = _problems(request, world, streams)
    development, exemplars = _development(request, world, asked, streams)
    policy = side.open(loading, kept)
    if isinstance(policy, LocalPolicy):
        share = policy.unknown_words(asked.problems[:64])
        if share > MOST_UNKNOWN:
            raise unreadable(share, "this model's tokenizer")
    return Asked(
        policy=policy,
        problems=asked,
        draws=range(request.draws),
        streams=streams,
        limits=Limits(max_new_tokens=tokens),
        development=development,
        exemplars=exemplars,
        in_words=world is None,
        teacher=None if teacher is None else teacher.open(loading, kept),
    )


def _problems(request: Request, world: World | None, streams: Streams) -> tuple[ProblemSet, int]:
    """What is asked, and the tokens that an answer may have."""
    if request.problems is not None:
        found = problems_in(request.problems, request.grader)
        if request.limit:
            found = replace(found, problems=found.problems[: request.limit])
        return found, request.max_new_tokens or DEFAULT_TOKENS
    assert world is not None, "checked before"
    found, tokens = world_problems(world, request.per_cell, streams)
    return found, request.max_new_tokens or tokens


def _development(
    request: Request, world: World | None, asked: ProblemSet, streams: Streams
) -> tuple[ProblemSet | None, tuple[Exemplar, ...]]:
    """Problems on which choices are made, none of which is asked, and worked solutions of such problems."""
    if request.development is not None:
        found = problems_in(request.development, request.grader)
        ids = {problem.id for problem in asked.problems}
        both = [problem.id for problem in found.problems if problem.id in ids]
        if both:
            what = f"{len(both)} development problems are among those that are asked, e.g. {both[0]}"
            raise UsageError(what, fix="other problems for --development")
        solved = [p for p in found.problems if p.facts.get("solution")][:SHOWN]
        return found, tuple(Exemplar(problem=p, solution=str(p.facts["solution"])) for p in solved)
    if world is None or request.problems is not None:
        return None, ()
    expert = world_expert(world)
    held_out = world_split(world, "validation", None, HELD_OUT, streams.child("problems"))
    shown = world_split(world, "rl", None, HELD_OUT, streams.child("problems"))
    told = [(p, expert(p, streams.child("expert", p.id))) for p in shown[:SHOWN]]
    development = replace(asked, name=f"{world.name} validation", problems=held_out)
    return development, tuple(Exemplar(problem=p, solution=text) for p, text in told if text)
