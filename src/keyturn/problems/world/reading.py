"""The verifier's reading of one completion. Rules that hold in every domain are stated here.

*outcome*: the completion has exactly one ``ANS``, directly followed by the required answer and the end.
*verified*: outcome, every step is valid (by the domain's rule), and the text ended by itself; a completion that
was cut is never verified. *lenient*: the last value of the text is the answer.
*process*: mean over the needed steps of (present, operands right, result right).
*plan_score*: share of planning choices in the valid set. *exec_score*: share of copies, look-ups and results
that are right **given the completion's own earlier values**, so that an error counts once and not at every step
that uses it. *efficiency*: needed steps over written steps. A share with denominator 0 is NaN.

A token that the grammar does not allow is INVALID and an error, and nothing after it is read as a step
(later tokens are INVALID too, but do not count as further errors). *choices* is the number of right choices at
a planning token, 0 elsewhere. *floor* is the entropy in nats of the world's texts there: the logarithm of
*choices* if texts use any valid order, 0 if the canonical order or a goal list determines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from keyturn.problems.world.vocabulary import ANS, EOS, VALUE, WORDS

LAST_VALUE = VALUE + 10
NOTHING_MORE: Mapping[str, str | float] = MappingProxyType({})


class Reading(NamedTuple):
    """The verdict on one completion; ``roles``, ``errors``, ``choices``, ``floors`` have an entry per token."""

    outcome: bool
    verified: bool
    answer: str
    lenient: bool
    strategy: str
    format: str
    plan_score: float
    exec_score: float
    process: float
    efficiency: float
    first_error: int
    first_error_role: int
    roles: list[int]
    errors: list[bool]
    choices: list[int]
    floors: list[float]
    more: Mapping[str, str | float] = NOTHING_MORE
    """Columns of this domain alone: an entry for each of its world's ``columns``."""


def answer_of(ids: list[int]) -> int:
    """Id of the completion's answer, -1 if it gives none or more than one."""
    if ids.count(ANS) != 1:
        return -1
    at = ids.index(ANS) + 1
    after = ids[at + 1 :]
    if at >= len(ids) or not VALUE <= ids[at] <= LAST_VALUE or after not in ([], [EOS]):
        return -1
    return ids[at]


def last_value(ids: list[int]) -> int:
    """Id of the last value in a completion, -1 if there is none."""
    return next((i for i in reversed(ids) if VALUE <= i <= LAST_VALUE), -1)


def word(value_id: int) -> str:
    """The value as text, "" for none."""
    return WORDS[value_id] if value_id >= 0 else ""
