"""The problems of a step and their completions: the first half of every RL step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.policies.protocol import Limits, Policy
from keyturn.rollouts.completions import Completions


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """What a step learns from.

    Args:
        completions: their prompts are the step's problems, in order.
        own: False on tokens that the policy did not choose (a tool's output), bool ``[token]``; None: all.
        demonstrations: written by others, for objectives that learn from them beside the draws; their
            log-probabilities are not read.
    """

    completions: Completions
    own: NDArray[np.bool_] | None = None
    demonstrations: Completions | None = None


RolloutFunction: TypeAlias = Callable[[Mapping[str, Policy], Sequence[Problem], Streams], Rollout]
"""``(policies by slot, problems, streams of this step) -> Rollout``; the slot ``policy`` is being trained. It
is part of a run's identity: a function at the top of a module, or a frozen dataclass with ``__call__``."""


@dataclass(frozen=True)
class Sampled:
    """The plain rollout: every problem is drawn ``draws`` times from the policy itself.

    Args:
        draws: of every problem.
        limits: length and rows at once.
    """

    draws: int
    limits: Limits

    def __call__(
        self, policies: Mapping[str, Policy], problems: Sequence[Problem], streams: Streams
    ) -> Rollout:
        """Draw."""
        return Rollout(completions=policies["policy"].draw(problems, range(self.draws), streams, self.limits))


@dataclass(frozen=True)
class Beside:
    """A rollout with demonstrations beside its draws.

    Args:
        draw: how problems are answered.
        demonstrations: all there are.
        rows: how many per step, without replacement; all if there are fewer.
    """

    draw: RolloutFunction
    demonstrations: Completions
    rows: int

    def __call__(
        self, policies: Mapping[str, Policy], problems: Sequence[Problem], streams: Streams
    ) -> Rollout:
        """Draw, and choose the demonstrations of this step."""
        drawn = self.draw(policies, problems, streams)
        order = streams.generator("demonstrations").permutation(len(self.demonstrations))[: self.rows]
        return replace(drawn, demonstrations=self.demonstrations.select(np.sort(order)))


def problems_at(
    position: int, count: int, problems: Sequence[Problem], streams: Streams
) -> tuple[tuple[Problem, ...], int]:
    """The next ``count`` problems and the position after them.

    Every epoch is a permutation of its own; what is left of one when fewer than ``count`` remain is
    passed over, so that no step asks the same problem twice.

    Args:
        position: problems gone by since the start of the run, those passed over included.
        count: how many are wanted, at most ``len(problems)``.
        problems: all of them.
        streams: decides the permutations.
    """
    epoch, place = divmod(position, len(problems))
    if place + count > len(problems):
        epoch, place = epoch + 1, 0
    order = streams.generator("order", epoch).permutation(len(problems))
    chosen = tuple(problems[i] for i in order[place : place + count])
    return chosen, epoch * len(problems) + place + count
