"""The contract of a reward: a graded group in, one number per completion out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.streams import Streams
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A reward. Values live in ``rewards.REWARDS``, built by config.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: where it comes from.
        reward: ``(completions, grades, streams) -> float32 [row]``; NaN marks a row as ungraded, which
            the loop leaves out of its group and counts.
        config: the frozen config dataclass that made it.
    """

    name: str
    summary: str
    source: str
    reward: Callable[[Completions, Grades, Streams], NDArray[np.float32]]
    config: object = None
