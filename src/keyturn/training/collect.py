"""Collect a step's training data: draw, grade, reward; draw again if dynamic sampling finds too few groups.

With ``rounds`` above 1 only groups whose rewards differ are kept, and further problems are asked until there
are ``prompts`` such groups or the rounds are used up. Dropped groups still count in the curves: pass rates are
those of all draws.
Degenerate: if no group has differing rewards, none is kept and the update is idle (counted). A problem is asked
at most once per step, so a small pool may end the rounds early.
Known bias: dropping silent groups changes which problems are learnt from as the policy improves; compare at
equal tokens, not at equal steps.
Source: dynamic sampling, DAPO (Yu et al. 2025, 2503.14476, eq. 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.lazy import torch
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.objectives.contract import RolloutBatch
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Graded, Reward, rewards_of
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades
from keyturn.training.batches import rollout_batch
from keyturn.training.config import RLConfig
from keyturn.training.loop import Loop
from keyturn.training.rollout import RolloutFunction, problems_at

RoleSource: TypeAlias = Callable[[Completions], NDArray[np.uint8]]
"""``(completions) -> a Role per token``: strategic grams, or anything else that says what tokens do."""

Timed: TypeAlias = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, eq=False)
class RolloutRound:
    """One round: what was asked and answered, and which rows are learnt from.

    Args:
        problems: asked in this round.
        completions: all draws.
        grades: of all draws.
        rewards: float32 ``[row]``, NaN where there is none.
        kept: rows that are learnt from, bool ``[row]``.
        own: False on tokens that the policy did not choose, bool ``[token]``, or None.
        demonstrations: beside the draws, or None.
    """

    problems: tuple[Problem, ...]
    completions: Completions
    grades: Grades
    rewards: NDArray[np.float32]
    kept: NDArray[np.bool_]
    own: NDArray[np.bool_] | None
    demonstrations: Completions | None

    @property
    def groups(self) -> int:
        """How many problems are learnt from."""
        return len(np.unique(self.completions.problem[self.kept]))


def collect_rollouts(
    loop: Loop,
    problems: ProblemSet,
    reward: Reward,
    config: RLConfig,
    draw: RolloutFunction,
    order: Streams,
    streams: Streams,
    timed: Timed,
) -> list[RolloutRound]:
    """The rounds of one step; advances the loop's position and token count.

    Args:
        loop: the run.
        problems: asked in turn.
        reward: of graded completions.
        config: of the run.
        draw: how problems are answered.
        order: decides the order of the problems.
        streams: of this step.
        timed: context that counts seconds by phase.
    """
    rounds: list[RolloutRound] = []
    seen: set[str] = set()
    missing = config.prompts
    for number in range(max(config.rounds, 1)):
        asked, loop.position = problems_at(loop.position, config.prompts, problems.problems, order)
        asked = tuple(problem for problem in asked if problem.id not in seen)
        if not asked:
            break
        seen |= {problem.id for problem in asked}
        own = streams if number == 0 else streams.child("round", number)
        with timed("sample"):
            drawn = draw(loop.policies, asked, own.child("rollout"))
        loop.tokens += len(drawn.completions.tokens)
        with timed("grade"):
            grades = problems.grader.grade(asked, drawn.completions)
            rewards = rewards_of(
                reward,
                Graded(
                    problems=asked, completions=drawn.completions, grades=grades, streams=own.child("reward")
                ),
            )
        kept = np.isfinite(rewards)
        if config.rounds > 1:
            kept = _teaching(drawn.completions.problem, rewards, missing)
        one = RolloutRound(
            problems=asked,
            completions=drawn.completions,
            grades=grades,
            rewards=rewards,
            kept=kept,
            own=drawn.own,
            demonstrations=drawn.demonstrations,
        )
        rounds.append(one)
        missing -= one.groups
        if missing <= 0:
            break
    return rounds


def _teaching(problem: NDArray[np.int32], rewards: NDArray[np.float32], most: int) -> NDArray[np.bool_]:
    """Rows of the first ``most`` groups whose rewards differ, bool ``[row]``."""
    kept = np.zeros(len(problem), dtype=bool)
    for name in np.unique(problem):
        rows = (problem == name) & np.isfinite(rewards)
        if most > 0 and rows.any() and rewards[rows].min() < rewards[rows].max():
            kept |= rows
            most -= 1
    return kept


def joined_rounds(
    rounds: Sequence[RolloutRound],
) -> tuple[tuple[Problem, ...], Completions, Grades, NDArray[np.float32]]:
    """Everything that was drawn in a step, learnt from or not: problems, completions, grades, rewards."""
    problems = tuple(problem for one in rounds for problem in one.problems)
    completions = rounds[0].completions
    if len(rounds) > 1:
        completions = Completions.join([one.completions for one in rounds])
    grades = Grades.concat([one.grades for one in rounds])
    return problems, completions, grades, np.concatenate([one.rewards for one in rounds])


def lesson_batch(
    rounds: Sequence[RolloutRound],
    max_new_tokens: int,
    source: RoleSource | None,
    device: torch.device | str,
    streams: Streams,
) -> tuple[Completions, RolloutBatch]:
    """What the objective sees: the rows that are learnt from, and demonstrations behind them.

    Args:
        rounds: of one step.
        max_new_tokens: length limit of the rollout.
        source: says what tokens do; the grader by default.
        device: where the policy is trained.
        streams: for objectives that draw.
    """
    problems, drawn, grades, rewards = joined_rounds(rounds)
    kept = np.concatenate([one.kept for one in rounds])
    rows = np.flatnonzero(kept)
    tokens = kept[drawn.token_row]
    completions = drawn if kept.all() else drawn.select(rows)
    owns = [one.own for one in rounds]
    own = np.concatenate([o for o in owns if o is not None]) if any(o is not None for o in owns) else None
    roles = source(completions) if source is not None else None
    if roles is None and grades.roles is not None:
        roles = grades.roles[tokens]
    own, given = None if own is None else own[tokens], rewards[rows]
    shown = rounds[0].demonstrations
    if shown is None:
        batch = rollout_batch(
            completions, given, max_new_tokens=max_new_tokens, own=own, roles=roles, device=device
        )
        return completions, replace(batch, streams=streams)
    count, width = len(shown), len(shown.tokens)
    blank = replace(shown, logprobs=np.zeros(width, np.float32), entropies=np.zeros(width, np.float32))
    whole = Completions.join([completions, blank])
    batch = rollout_batch(
        whole,
        np.concatenate([given, np.zeros(count, np.float32)]),
        max_new_tokens=max(max_new_tokens, int(shown.lengths.max(initial=0))),
        own=None if own is None else np.concatenate([own, np.ones(width, dtype=bool)]),
        roles=None if roles is None else np.concatenate([roles, np.zeros(width, np.uint8)]),
        device=device,
    )
    demonstration = torch.arange(len(whole), device=batch.group.device) >= len(completions)
    alone = len(problems) + torch.arange(len(whole), device=batch.group.device)
    group = torch.where(demonstration, alone, batch.group)
    return whole, replace(batch, group=group, demonstration=demonstration, streams=streams)
