"""The contract of a reward: a function from a graded group to one number per completion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from keyturn.core.describe import PROSE
from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.rollouts.completions import Completions, Stop
from keyturn.rollouts.grades import Grades

LARGEST_REWARD = 1e6
"""Largest accepted reward; beyond it, group statistics in float32 would lose the other rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graded:
    """The input of a reward: everything about one rollout, nothing about the policy.

    Args:
        problems: the problems; ``completions.problem`` points into them.
        completions: the completions.
        grades: the verifier's grades.
        streams: randomness of this step, for random rewards.
    """

    problems: tuple[Problem, ...]
    completions: Completions
    grades: Grades
    streams: Streams

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Rows without a completion, so that there is nothing to reward, bool ``[row]``."""
        return self.completions.stop == Stop.ERROR

    def asked(self) -> Iterator[Problem]:
        """The problem of every row."""
        return (self.problems[index] for index in self.completions.problem.tolist())

    def groups(self) -> Iterator[tuple[Problem, NDArray[np.int64]]]:
        """Every answered problem and its rows in the order of their draws, wherever they are."""
        drawn = self.completions
        order = np.lexsort((drawn.draw, drawn.problem))
        for rows in np.split(order, np.flatnonzero(np.diff(drawn.problem[order])) + 1):
            if len(rows):
                yield self.problems[int(drawn.problem[rows[0]])], rows

    def column(self, name: str, why: str) -> NDArray:
        """A column of the grades.

        Raises:
            InputError: this grader does not give it; ``why`` names the reward that needs it.
        """
        if name not in self.grades.columns:
            raise InputError(
                f"{why} needs a grader that gives the column {name!r}; this one gives "
                f"{', '.join(sorted(self.grades.columns)) or 'none'}",
                fix="take another reward, or problems of a source whose grader gives it",
            )
        return self.grades.columns[name]


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A reward. Values live in ``rewards.REWARDS``, built by config.

    Args:
        name: key of the dictionary.
        summary: one sentence.
        source: paper or other origin.
        reward: ``(graded) -> float32 [row]``; NaN marks a row as ungraded, which the loop leaves out of its
            group and counts.
        config: the frozen config dataclass that made it, or :func:`composed` if it wraps others. A run's
            identity depends on it, so a reward whose function was made inside another one must have it.
        blind: whether it ignores the verifier's verdict (outcome, verified, scores of the trace), so that rows
            that the verifier left ungraded have a reward; rows without a completion never have one.
    """

    name: str
    summary: str = field(metadata=PROSE)
    source: str = field(metadata=PROSE)
    reward: Callable[[Graded], NDArray[np.float32]]
    config: object = None
    blind: bool = False


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The config of a reward that wraps others, so that they are part of a run's identity.

    Args:
        settings: its own config.
        inner: name and config of every wrapped reward, or its function if it has no config.
    """

    settings: object
    inner: tuple[tuple[str, object], ...]


def composed(settings: object, *inner: Reward) -> Composed:
    """Settings together with the wrapped rewards."""
    return Composed(
        settings=settings,
        inner=tuple((one.name, one.reward if one.config is None else one.config) for one in inner),
    )


def rewards_of(reward: Reward, graded: Graded) -> NDArray[np.float32]:
    """Call a reward and check its result, float32 ``[row]``; NaN for rows without a completion.

    Raises:
        InputError: the result is not one real number per completion (None, text, booleans, another length,
            infinity or beyond :data:`LARGEST_REWARD`); the message names the reward and the first such item.
    """
    given = reward.reward(graded)
    if given is None or isinstance(given, str) or not hasattr(given, "__len__"):
        raise _wrong(reward, f"gave {type(given).__name__}, not one number per completion")
    if len(given) != len(graded):
        raise _wrong(reward, f"gave {len(given)} numbers for {len(graded)} completions")
    for row, value in enumerate(given):
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise _wrong(reward, f"gave {value!r} ({type(value).__name__}) for row {row}")
        if not np.isnan(value) and abs(value) > LARGEST_REWARD:
            raise _wrong(reward, f"gave {value!r} for row {row}, beyond {LARGEST_REWARD:g}")
    return np.where(graded.silent, np.nan, np.asarray(given, dtype=np.float32)).astype(np.float32)


def _wrong(reward: Reward, what: str) -> InputError:
    return InputError(
        f"reward {reward.name!r} {what}", fix="return a float32 array, one entry per row, NaN for ungraded rows"
    )
