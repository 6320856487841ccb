"""The verifier of CHAIN: reads prompt and completion tokens, and knows only the eight maps.

A completion is verified if and only if it is, token by token, the one valid trace with its ``EOS``. An operand
after the first is right if it *equals the completion's own previous result*, so a wrong result that later steps
use correctly is one error. ``plan_score`` is NaN, because the prompt determines every step; linking a step to
the previous one is the look-up of its operand. So ``first_error_role`` LOOKUP means "did not link".
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.maps import MODULUS, TABLES
from keyturn.problems.world.reading import Reading, answer_of, last_value, word
from keyturn.problems.world.vocabulary import ANS, BOS, CHAIN, END, EOS, MAP, MAPS, QUERY, VALUE

_COPY, _LOOKUP, _RESULT = int(Role.COPY), int(Role.LOOKUP), int(Role.ARITHMETIC)
_SYNTAX, _ANSWER, _INVALID = int(Role.SYNTAX), int(Role.ANSWER), int(Role.INVALID)


class ChainTask(NamedTuple):
    """What a CHAIN prompt asks."""

    maps: tuple[int, ...]
    start: int
    results: tuple[int, ...]
    """The right result of every step."""


def read_chain_prompt(ids: list[int]) -> ChainTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a CHAIN prompt.
    """
    maps = tuple(i - MAP for i in ids[2:-2])
    start = ids[-2] - VALUE if len(ids) > 4 else -1
    framed = len(ids) > 4 and ids[0] == BOS and ids[1] == CHAIN and ids[-1] == QUERY
    if not framed or not 0 <= start < MODULUS or not all(0 <= j < len(MAPS) for j in maps):
        raise InputError("this is not a CHAIN prompt", fix="BOS CH, map names, one residue, ?")
    results = []
    value = start
    for j in maps:
        value = TABLES[j][value]
        results.append(value)
    return ChainTask(maps, start, tuple(results))


def read_chain_completion(task: ChainTask, ids: list[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_chain_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    roles, errors, steps, finished = _parse(task, ids)
    answer = answer_of(ids)
    gold = VALUE + task.results[-1]
    right, before = 0, task.start
    for made, j, result in zip(steps, task.maps, task.results, strict=False):
        right += made == (j, before, result)
        before = result
    counted = [e for role, e in zip(roles, errors, strict=True) if role in (_COPY, _LOOKUP, _RESULT)]
    first = errors.index(True) if True in errors else -1
    depth = len(task.maps)
    outcome = answer == gold
    whole = finished and right == depth == len(steps) and first < 0
    return Reading(
        outcome=outcome,
        verified=outcome and whole and ended,
        answer=word(answer),
        lenient=last_value(ids) == gold,
        strategy="",
        format="",
        plan_score=math.nan,
        exec_score=1 - sum(counted) / len(counted) if counted else math.nan,
        process=right / depth,
        efficiency=min(1.0, depth / len(steps)) if steps else math.nan,
        first_error=first,
        first_error_role=roles[first] if first >= 0 else int(Role.UNKNOWN),
        roles=roles,
        errors=errors,
        choices=[0] * len(ids),
        floors=[0.0] * len(ids),
    )


def _parse(task: ChainTask, ids: list[int]) -> tuple[list[int], list[bool], list[tuple[int, int, int]], bool]:
    """Roles, error flags, steps (map, operand, result) and whether the text ended with an answer."""
    roles: list[int] = []
    errors: list[bool] = []
    steps: list[tuple[int, int, int]] = []
    depth, size = len(task.maps), len(ids)
    at = 0
    while at < size and ids[at] != ANS:
        index, previous = len(steps), steps[-1][2] if steps else task.start
        if not MAP <= ids[at] < MAP + len(MAPS):
            break
        j = ids[at] - MAP
        roles.append(_COPY)
        errors.append(index >= depth or j != task.maps[index])
        at += 1
        if at == size or not VALUE <= ids[at] < VALUE + MODULUS:
            break
        operand = ids[at] - VALUE
        roles.append(_LOOKUP if index else _COPY)
        errors.append(operand != previous)
        at += 1
        if at == size or not VALUE <= ids[at] < VALUE + MODULUS:
            break
        result = ids[at] - VALUE
        roles.append(_RESULT)
        errors.append(result != TABLES[j][operand])
        steps.append((j, operand, result))
        at += 1
        if at == size or ids[at] != END:
            break
        roles.append(_SYNTAX)
        errors.append(False)
        at += 1
    finished = at < size and ids[at] == ANS and len(roles) % 4 == 0 and _close(task, ids, roles, errors, steps)
    lost = size - len(roles)
    if lost:
        roles += [_INVALID] * lost
        errors += [True] + [False] * (lost - 1)
    return roles, errors, steps, finished


def _close(
    task: ChainTask, ids: list[int], roles: list[int], errors: list[bool], steps: list[tuple[int, int, int]]
) -> bool:
    """Read ``ANS r EOS`` after the last step; True if it is complete (``EOS`` may be missing)."""
    at = len(roles)
    roles.append(_SYNTAX)
    errors.append(len(steps) < len(task.maps))
    if at + 1 == len(ids) or not VALUE <= ids[at + 1] < VALUE + MODULUS:
        return False
    roles.append(_ANSWER)
    errors.append(not steps or ids[at + 1] - VALUE != steps[-1][2])
    if at + 2 < len(ids) and ids[at + 2] == EOS:
        roles.append(_SYNTAX)
        errors.append(False)
    return len(roles) == len(ids)
