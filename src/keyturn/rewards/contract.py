"""The contract of a reward: a graded group in, one number per completion out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.core.streams import Streams
from keyturn.rollouts.completions import Completions
from keyturn.rollouts.grades import Grades

LARGEST_REWARD = 1e6
"""Beyond this a reward is taken for a fault: group statistics in float32 would lose the other rows."""


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


def rewards_of(
    reward: Reward, completions: Completions, grades: Grades, streams: Streams
) -> NDArray[np.float32]:
    """Call a reward and check what it gives, float32 ``[row]``.

    Raises:
        InputError: not one real number a completion (None, text, booleans, another length, infinity or
            beyond :data:`LARGEST_REWARD`); the message names the reward and the first such item.
    """
    given = reward.reward(completions, grades, streams)
    if given is None or isinstance(given, str) or not hasattr(given, "__len__"):
        raise _wrong(reward, f"gave {type(given).__name__}, not one number a completion")
    if len(given) != len(completions):
        raise _wrong(reward, f"gave {len(given)} numbers for {len(completions)} completions")
    for row, value in enumerate(given):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise _wrong(reward, f"gave {value!r} ({type(value).__name__}) for row {row}")
        if not np.isnan(value) and abs(value) > LARGEST_REWARD:
            raise _wrong(reward, f"gave {value!r} for row {row}, beyond {LARGEST_REWARD:g}")
    return np.asarray(given, dtype=np.float32)


def _wrong(reward: Reward, what: str) -> InputError:
    return InputError(
        f"reward {reward.name!r} {what}", fix="return a float32 array, one entry a row, NaN where ungraded"
    )
