"""Follow one token's credit from its problem to its gradient, on a shipped base."""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import asdict
from typing import Any

from keyturn.core.errors import unknown
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.core.text import visible


def run(
    world: str = "chain",
    objective: str = "grpo",
    reward: str = "outcome",
    group: int = 8,
    token: int = -1,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Follow one token's credit from its problem to its gradient, on a shipped base.

    Args:
        world: embedded world whose base answers.
        objective: how rewards become credit and loss.
        reward: how verdicts become rewards.
        group: number of draws of the problem.
        token: position in the completion; -1 takes the first result of an operation.
        seed: root of all randomness.
        json: one JSON document on stdout instead of Markdown.
    """
    way = trace(world, objective, reward, group=group, token=token, seed=seed)
    if json:
        document = {"schema": SCHEMA, "command": "trace", "stops": [asdict(stop) for stop in way.stops]}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(markdown(way))


def trace(world: str, objective: str, reward: str, *, group: int = 8, token: int = -1, seed: int = 0) -> Any:
    """Trace a token's credit; world, objective and reward are given by name."""
    from keyturn.auditing.embedded import EMBEDDED, MODELS, world_in
    from keyturn.objectives import OBJECTIVES
    from keyturn.problems.world.grader import WorldGrader
    from keyturn.problems.world.worlds import problems
    from keyturn.rewards.by_name import reward_named

    for kind, name, known in (
        ("embedded world", world, EMBEDDED),
        ("objective", objective, OBJECTIVES),
    ):
        if name not in known:
            raise unknown(kind, name, known)
    rewarded = reward_named(reward)
    from keyturn.policies.loading import load_policy

    base = load_policy(MODELS / world)
    from keyturn.auditing.credit_trace import trace_credit

    made = world_in(MODELS / world)
    asked = problems(made, "rl", list(EMBEDDED[world].train), 32, Streams(seed))
    return trace_credit(
        base,
        asked,
        WorldGrader(made),
        rewarded,
        OBJECTIVES[objective](),
        Streams(seed),
        group=group,
        max_new_tokens=made.max_new_tokens,
        token=token,
    )


def markdown(way: Any) -> str:
    """The trace as a Markdown page."""
    lines = [
        f"The problem is `{visible(way.problem.prompt)}`. Of {len(way.draws)} draws, number {way.draw}:",
        f"`{visible(way.text)}`.\n",
    ]
    for number, stop in enumerate(way.stops, start=1):
        lines.append(f"{number}. **{stop.what}** in `{stop.where}`")
        lines += [f"   - {name}: `{visible(str(value))}`" for name, value in stop.numbers.items()]
    return "\n".join(lines) + "\n"
