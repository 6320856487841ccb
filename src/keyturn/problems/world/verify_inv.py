"""The verifier of INV: reads prompt and completion tokens, and knows only the seven maps forwards.

A completion is verified if and only if it is the one trace of BWD or the one of SCAN. It is judged by its own
values, so an error counts once. In BWD the known end of a step is the previous preimage, and the new preimage
is right if the map sends it there. In SCAN the candidate must be the smallest not yet tried, its steps apply
maps forwards, and its check must say whether the last result is the wanted one. Continuing after a successful
check, or answering before one, is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.maps import MODULUS, SQUARE
from keyturn.problems.world.reading import Reading, last_value
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BACK,
    BOS,
    CHAIN,
    DO,
    END,
    EQUALS,
    ID,
    MAP,
    OK,
    QUERY,
    VALUE,
    VERIFY,
    WORDS,
)
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

MARK = ID["CTL6"]
FORWARD = CHAIN
"""The word after the mark that asks the forward way."""
_BACKWARD, _SCAN = ID["BWD"], ID["SCAN"]
_VALUES = range(VALUE, VALUE + MODULUS)
_MAPS = range(MAP, MAP + MODULUS)


class InvTask(NamedTuple):
    """What an inverse prompt asks."""

    maps: tuple[int, ...]
    result: int
    start: int
    """The answer."""


def read_inv_prompt(ids: list[int]) -> InvTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not an inverse prompt.
    """
    framed = len(ids) > 5 and ids[:3] == [BOS, MARK, ASK] and ids[-1] == QUERY
    if not framed or ids[-2] not in _VALUES or not set(ids[3:-2]) <= set(_MAPS):
        raise InputError("this is not an INV prompt", fix="BOS, CTL6, ASK, map names f to l, one residue, ?")
    maps = tuple(token - MAP for token in ids[3:-2])
    result = ids[-2] - VALUE
    start = next(x for x in range(MODULUS) if _through(maps, x) == result)
    return InvTask(maps, result, start)


def read_inv_completion(task: InvTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_inv_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    steps: list[bool] = []
    strategy, finished = -1, False
    try:
        strategy = walk.take(Role.STRATEGY, (_BACKWARD, _SCAN))
        own = (_back if strategy == _BACKWARD else _scan)(task, walk, steps)
        walk.take(Role.SYNTAX, (ANS,))
        if own < 0:
            walk.flag()
        walk.take(Role.ANSWER, _VALUES, (VALUE + own,))
        finished = walk.end()
    except Lost:
        pass
    needed = len(task.maps) if strategy != _SCAN else task.start + 1
    answer = answered(ids)
    return verdict(
        walk,
        answer=answer if len(answer) == 1 and answer[0] in _VALUES else (),
        outcome=answer == (VALUE + task.start,),
        lenient=last_value(list(ids)) == VALUE + task.start,
        finished=finished,
        ended=ended,
        process=sum(steps[:needed]) / needed,
        efficiency=min(1.0, needed / len(steps)) if steps else math.nan,
        strategy=WORDS[strategy] if strategy >= 0 else "",
    )


def _through(maps: tuple[int, ...], start: int) -> int:
    value = start
    for j in maps:
        value = SQUARE[j][value]
    return value


def _back(task: InvTask, walk: Walk, steps: list[bool]) -> int:
    """Read BWD's steps; return the value that the answer must repeat, or -1 if maps are left."""
    maps = task.maps[::-1]
    value = task.result
    while walk.next != ANS:
        at = len(steps)
        before = len(walk.errors)
        known = walk.take(Role.LOOKUP, _VALUES, (VALUE + value,)) - VALUE
        walk.take(Role.SYNTAX, (EQUALS,))
        j = walk.take(Role.COPY, _MAPS, (MAP + maps[at],) if at < len(maps) else ()) - MAP
        value = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + SQUARE[j].index(known),)) - VALUE
        walk.take(Role.SYNTAX, (END,))
        true = _through(task.maps[: len(maps) - at - 1], task.start) if at < len(maps) else -1
        steps.append(value == true and not any(walk.errors[before:]))
    return value if len(steps) >= len(maps) else -1


def _scan(task: InvTask, walk: Walk, steps: list[bool]) -> int:
    """Read SCAN's tries; return the candidate whose check succeeded, or -1."""
    held = -1
    while walk.next == DO:
        before = len(walk.errors)
        walk.take(Role.SYNTAX, (DO,))
        if held >= 0:
            walk.flag()
        at = len(steps)
        value = candidate = (
            walk.take(Role.PLAN, _VALUES, (VALUE + at,) if at < MODULUS else (), choice=True) - VALUE
        )
        walk.take(Role.SYNTAX, (END,))
        for j in task.maps:
            used = walk.take(Role.COPY, _MAPS, (MAP + j,)) - MAP
            operand = walk.take(Role.LOOKUP, _VALUES, (VALUE + value,)) - VALUE
            value = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + SQUARE[used][operand],)) - VALUE
            walk.take(Role.SYNTAX, (END,))
        walk.take(Role.SYNTAX, (VERIFY,))
        due = OK if value == task.result else BACK
        said = walk.next
        walk.take(Role.VERIFY if said == OK else Role.BACKTRACK, (OK, BACK), (due,))
        walk.take(Role.SYNTAX, (END,))
        held = candidate if said == OK else held
        steps.append(not any(walk.errors[before:]))
    return held
