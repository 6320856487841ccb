"""A verifier's grades of completions, and the table of graded completions that measures read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keyturn.core.problem import Problem
from keyturn.rollouts.completions import Completions, gather_ragged


@dataclass(frozen=True, kw_only=True, eq=False)
class Grades:
    """A verdict per completion. Grading is separate from sampling, so a verifier can change alone.

    Args:
        outcome: 1 right, 0 wrong, NaN ungraded (a time-out is ungraded, never wrong), float32 ``[row]``.
        verified: answer right *and* trace valid; all NaN if no verifier reads traces, float32 ``[row]``.
        answer: the extracted answer, ``""`` if none was found, ``[row]``.
        columns: further columns by name, one entry per row: ``strategy`` and ``format`` (object arrays of
            str), ``plan_score``, ``exec_score``, ``process``, ``efficiency`` (float32),
            ``first_error`` (int32 token index, -1 none), ``first_error_role`` (uint8, a ``Role``),
            ``lenient`` (float32: right under lenient extraction)...
        roles: a :class:`keyturn.core.roles.Role` per token of the completions, uint8 ``[token]``, or None.
        token_columns: further columns by name, one entry per token: ``floor`` (float32, the known entropy
            floor in nats of a planning token, log of the number of valid choices), ``error`` (bool)...
    """

    outcome: NDArray[np.float32]
    verified: NDArray[np.float32]
    answer: tuple[str, ...]
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    roles: NDArray[np.uint8] | None = None
    token_columns: Mapping[str, NDArray] = field(default_factory=dict)

    def select(self, completions: Completions, rows: NDArray[np.bool_]) -> Grades:
        """The grades of some rows of the graded completions."""
        index = np.flatnonzero(rows)
        take, _ = gather_ragged(completions.offsets, index)
        return Grades(
            outcome=self.outcome[index],
            verified=self.verified[index],
            answer=tuple(self.answer[i] for i in index),
            columns={name: column[index] for name, column in self.columns.items()},
            roles=None if self.roles is None else self.roles[take],
            token_columns={name: column[take] for name, column in self.token_columns.items()},
        )

    @staticmethod
    def concat(parts: Sequence[Grades]) -> Grades:
        """Concatenate grades in the same way as completions; a column that one part lacks is dropped."""
        first = parts[0]
        if len(parts) == 1:
            return first
        columns = [name for name in first.columns if all(name in part.columns for part in parts)]
        tokens = [name for name in first.token_columns if all(name in part.token_columns for part in parts)]
        roles = [part.roles for part in parts if part.roles is not None]
        return Grades(
            outcome=np.concatenate([part.outcome for part in parts]),
            verified=np.concatenate([part.verified for part in parts]),
            answer=tuple(answer for part in parts for answer in part.answer),
            columns={name: np.concatenate([part.columns[name] for part in parts]) for name in columns},
            roles=np.concatenate(roles) if len(roles) == len(parts) else None,
            token_columns={
                name: np.concatenate([part.token_columns[name] for part in parts]) for name in tokens
            },
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoStages:
    """Draws in two stages: every problem got the first, and only those with few successes got the second.

    Args:
        first: number of draws in the first stage; draws with a smaller number belong to it.
        enough: number of successes in the first stage after which drawing stopped.
        went_on: problems that got the second stage, bool ``[problem]``.
    """

    first: int
    enough: int
    went_on: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Graded draws of one policy on one list of problems, the input of almost every measure.

    Problems are the sampling unit, so every row has its problem. Two ``Answers`` are compared only over the
    same ``problems`` in the same order.

    Args:
        policy: ``"base"``, ``"tuned"`` or a name.
        problems: the problems, in the order that ``problem`` indexes.
        problem: int32 ``[row]``.
        draw: int32 ``[row]``.
        outcome: float32 ``[row]``, 1 / 0 / NaN (see :class:`Grades`).
        verified: float32 ``[row]``, all NaN if no verifier reads traces.
        answer: extracted answers, ``[row]``.
        length: size of each completion, int32 ``[row]``; -1 for a verdict without a completion.
        truncated: whether it was cut at the limit, bool ``[row]``.
        columns: further columns of :class:`Grades`, one entry per row.
        length_in: unit of ``length``; words if no tokenizer is known.
        cuts_known: whether it is known which completions were cut; if not, ``truncated`` has no meaning.
        two_stages: the rule by which some problems got more draws than others; None if none is known.
    """

    policy: str
    problems: tuple[Problem, ...]
    problem: NDArray[np.int32]
    draw: NDArray[np.int32]
    outcome: NDArray[np.float32]
    verified: NDArray[np.float32]
    answer: tuple[str, ...]
    length: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    columns: Mapping[str, NDArray] = field(default_factory=dict)
    length_in: Literal["tokens", "words"] = "tokens"
    cuts_known: bool = True
    two_stages: TwoStages | None = None

    def __len__(self) -> int:
        return len(self.problem)

    @property
    def reads_traces(self) -> bool:
        """Whether a verifier read the traces, so that ``verified`` defines success."""
        return bool(np.isfinite(self.verified).any())

    @property
    def success(self) -> NDArray[np.float32]:
        """Verified if a verifier reads traces, else the outcome; float32 ``[row]``, NaN ungraded."""
        return self.verified if self.reads_traces else self.outcome

    def counts(self, success: NDArray[np.float32] | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Graded draws and successes per problem: ``(n, c)``, int64 ``[problem]`` each.

        Args:
            success: the column to count; :attr:`success` by default. Ungraded rows (NaN) count in neither.
        """
        values = self.success if success is None else success
        graded = np.isfinite(values)
        size = len(self.problems)
        n = np.bincount(self.problem[graded], minlength=size)
        c = np.bincount(self.problem[graded], weights=values[graded], minlength=size)
        return n.astype(np.int64), np.rint(c).astype(np.int64)

    def rates(self, success: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        """Success rate of each problem, float64 ``[problem]``; NaN if nothing was graded.

        Args:
            success: the column; :attr:`success` by default, as in :meth:`counts`.
        """
        n, c = self.counts(success)
        return np.where(n > 0, c / np.maximum(n, 1), np.nan)

    def select(self, rows: NDArray[np.bool_]) -> Answers:
        """Some rows, with the same list of problems."""
        index = np.flatnonzero(rows)
        return replace(
            self,
            problem=self.problem[index],
            draw=self.draw[index],
            outcome=self.outcome[index],
            verified=self.verified[index],
            answer=tuple(self.answer[i] for i in index),
            length=self.length[index],
            truncated=self.truncated[index],
            columns={name: column[index] for name, column in self.columns.items()},
        )

    def of_problems(self, index: NDArray[np.int64]) -> Answers:
        """The draws of some problems, which become the list of problems (in the order of ``index``)."""
        place = np.full(len(self.problems), -1, dtype=np.int32)
        place[index] = np.arange(len(index), dtype=np.int32)
        kept = self.select(place[self.problem] >= 0)
        stages = self.two_stages
        return replace(
            kept,
            problems=tuple(self.problems[i] for i in index),
            problem=place[kept.problem].astype(np.int32),
            two_stages=None if stages is None else replace(stages, went_on=stages.went_on[index]),
        )
