"""The verifier of PAR: reads prompt and completion tokens, and can add modulo two.

A completion is verified if and only if it is the running trace over all bits in the prompt's order. A fetched
bit is right if it belongs to *the name just written*, a parity if it continues the completion's own previous
one, and the answer if it is the last parity, so an error counts once. ``DIR`` has an outcome and is never
verified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.graph_task import is_noun
from keyturn.problems.world.reading import Reading, last_value
from keyturn.problems.world.vocabulary import ANS, BOS, END, ID, NOUN, NOUNS, QUERY, VALUE, WORDS
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

MARK = ID["CTL5"]
_FORWARD, _DIRECT = ID["FWD"], ID["DIR"]
_BITS = (VALUE, VALUE + 1)
_NAMES = range(NOUN, NOUN + sum(map(len, NOUNS)))


class ParTask(NamedTuple):
    """What a PAR prompt asks."""

    bits: dict[int, int]
    """Name -> the bit's token, in the prompt's order."""
    parity: int


def read_par_prompt(ids: list[int]) -> ParTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a PAR prompt.
    """
    names, bits = ids[2:-1:2], ids[3:-1:2]
    framed = len(ids) >= 5 and ids[:2] == [BOS, MARK] and ids[-1] == QUERY and len(names) == len(bits)
    if (
        not framed
        or not all(map(is_noun, names))
        or len(set(names)) < len(names)
        or not set(bits) <= set(_BITS)
    ):
        raise InputError("this is not a PAR prompt", fix="BOS, CTL5, pairs of a new noun and a bit, ?")
    return ParTask(dict(zip(names, bits, strict=True)), (sum(bits) - VALUE * len(bits)) % 2)


def read_par_completion(task: ParTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_par_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    order = list(task.bits)
    steps: list[tuple[int, int, int]] = []
    strategy, finished = -1, False
    try:
        strategy = walk.take(Role.STRATEGY, (_FORWARD, _DIRECT))
        own = VALUE
        while strategy == _FORWARD and walk.next != ANS:
            name = walk.take(Role.COPY, _NAMES, order[len(steps) : len(steps) + 1])
            bit = walk.take(Role.LOOKUP, _BITS, (task.bits[name],) if name in task.bits else _BITS)
            own = walk.take(Role.ARITHMETIC, _BITS, (VALUE + (own + bit - 2 * VALUE) % 2,))
            steps.append((name, bit, own))
            walk.take(Role.SYNTAX, (END,))
        walk.take(Role.SYNTAX, (ANS,))
        if strategy == _FORWARD and len(steps) < len(order):
            walk.flag()
        walk.take(Role.ANSWER, _BITS, (own if strategy == _FORWARD else VALUE + task.parity,))
        finished = walk.end() and strategy == _FORWARD and len(steps) == len(order)
    except Lost:
        pass
    right = parity = 0
    for step, (name, bit) in zip(steps, task.bits.items(), strict=False):
        parity = (parity + bit - VALUE) % 2
        right += step == (name, bit, VALUE + parity)
    answer = answered(ids)
    return verdict(
        walk,
        answer=answer if len(answer) == 1 and answer[0] in _BITS else (),
        outcome=answer == (VALUE + task.parity,),
        lenient=last_value(list(ids)) == VALUE + task.parity,
        finished=finished,
        ended=ended,
        process=right / len(order),
        efficiency=min(1.0, len(order) / len(steps)) if steps else math.nan,
        strategy=WORDS[strategy] if strategy >= 0 else "",
    )
