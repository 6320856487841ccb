"""A walk over a completion: each token in turn gets a role, and whether it is right.

At each position one set of tokens is allowed by the grammar, and another set is right. A token outside the
first set ends the walk (:class:`Lost`); it and all later tokens are INVALID, and only it is an error. A
completion that was cut ends the walk without a further error.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from keyturn.core.roles import Role
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.vocabulary import ANS, EOS, decode

_EXECUTED = (int(Role.COPY), int(Role.LOOKUP), int(Role.ARITHMETIC))
_PLANNED = (int(Role.PLAN), int(Role.GOAL))


class Lost(Exception):
    """The grammar does not allow this token here, or the text has ended."""


class Walk:
    """Roles, errors and numbers of right choices, as far as the text was read.

    Args:
        ids: token ids of the completion.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self.ids = ids
        self.roles: list[int] = []
        self.errors: list[bool] = []
        self.choices: list[int] = []

    @property
    def next(self) -> int:
        """The next token, -1 at the end."""
        at = len(self.roles)
        return self.ids[at] if at < len(self.ids) else -1

    def take(
        self,
        role: Role,
        allowed: Collection[int],
        right: Collection[int] | None = None,
        *,
        choice: bool = False,
    ) -> int:
        """Read one token.

        Args:
            role: the token's role.
            allowed: tokens that the grammar allows.
            right: tokens that are right; by default all allowed ones.
            choice: whether it is a planning token, and ``right`` are its choices.

        Raises:
            Lost: the token is not allowed, or there is none.
        """
        token = self.next
        if token not in allowed:
            raise Lost
        self.roles.append(int(role))
        self.errors.append(right is not None and token not in right)
        self.choices.append(len(right) if choice and right is not None else 0)
        return token

    def flag(self) -> None:
        """Mark the last token as an error."""
        self.errors[-1] = True

    def end(self) -> bool:
        """Read the ``EOS``, which may be missing; return whether the text ends here."""
        if self.next == EOS:
            self.take(Role.SYNTAX, (EOS,))
        return len(self.roles) == len(self.ids)

    def close(self) -> None:
        """Mark the rest of the text as INVALID."""
        lost = len(self.ids) - len(self.roles)
        self.roles += [int(Role.INVALID)] * lost
        self.errors += [True, *[False] * lost][:lost]
        self.choices += [0] * lost


def answered(ids: Sequence[int]) -> tuple[int, ...]:
    """The tokens between the only ``ANS`` of a completion and its end; () if it has none or several."""
    if list(ids).count(ANS) != 1:
        return ()
    after = tuple(ids[list(ids).index(ANS) + 1 :])
    return after[:-1] if after[-1:] == (EOS,) else after


def verdict(
    walk: Walk,
    *,
    answer: tuple[int, ...],
    outcome: bool,
    lenient: bool,
    finished: bool,
    ended: bool,
    process: float,
    efficiency: float,
    strategy: str = "",
) -> Reading:
    """The reading of a finished walk.

    Args:
        walk: the walk, which is closed here.
        answer: token ids of a well-formed answer, () for none.
        outcome: whether the answer is right.
        lenient: whether it is right under lenient extraction.
        finished: whether the trace is complete up to its end.
        ended: whether the text ended by itself.
        process: see :mod:`keyturn.problems.world.reading`.
        efficiency: see there.
        strategy: the word that names the strategy, "" for none.
    """
    walk.close()
    roles, errors = walk.roles, walk.errors
    first = errors.index(True) if True in errors else -1
    return Reading(
        outcome=outcome,
        verified=outcome and finished and ended and first < 0,
        answer=decode(answer),
        lenient=lenient,
        strategy=strategy,
        format="",
        plan_score=_right_share(roles, errors, _PLANNED),
        exec_score=_right_share(roles, errors, _EXECUTED),
        process=process,
        efficiency=efficiency,
        first_error=first,
        first_error_role=roles[first] if first >= 0 else int(Role.UNKNOWN),
        roles=roles,
        errors=errors,
        choices=walk.choices,
        floors=[0.0] * len(roles),
    )


def _right_share(roles: list[int], errors: list[bool], which: tuple[int, ...]) -> float:
    counted = [error for role, error in zip(roles, errors, strict=True) if role in which]
    return 1 - sum(counted) / len(counted) if counted else math.nan
