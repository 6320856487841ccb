"""The verifier of MODES: reads prompt and completion tokens, and knows the maps and addition modulo seven.

A completion is verified if and only if its answer is right and nothing in it is wrong: the answer alone, or
an opener of the world and then every step in the prompt's order. An operand is right if it equals the
completion's own previous result, so an error counts once. ``strategy`` is ``DIR`` for an answer alone and
``FWD`` for worked ones, whatever their opener. A guess of the answer alone is right once in seven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.maps import MODULUS, TABLES
from keyturn.problems.world.reading import Reading, last_value
from keyturn.problems.world.vocabulary import ANS, BOS, END, ID, MAP, MAPS, QUERY, VALUE
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

ASKED, OTHER_MAPS, SUMS, CUE = ID["CTL10"], ID["CTL11"], ID["CTL12"], ID["CTL13"]
"""Marks of the asked problems, of the other context, of the other domain; and the cue for a worked answer."""
OWN_MAPS = len(MAPS) // 2
"""The first maps are asked about; the rest belong to the other context."""
_VALUES = range(VALUE, VALUE + MODULUS)
_ITEMS = {
    ASKED: range(MAP, MAP + OWN_MAPS),
    OTHER_MAPS: range(MAP + OWN_MAPS, MAP + len(MAPS)),
    SUMS: _VALUES,
}


class ModesTask(NamedTuple):
    """What a prompt asks, as tokens."""

    items: tuple[int, ...]
    """Maps to apply, or numbers to add, in order."""
    start: int
    results: tuple[int, ...]
    """The right result of every step."""


def read_modes_prompt(ids: list[int]) -> ModesTask:
    """The task that a prompt states, with or without the cue at its end.

    Raises:
        InputError: the ids are not a MODES prompt.
    """
    body = ids[:-1] if ids[-1:] == [CUE] else ids
    items, start = tuple(body[2:-2]), body[-2] if len(body) > 4 else -1
    known = _ITEMS.get(body[1], range(0)) if len(body) > 4 else range(0)
    framed = body[:1] == [BOS] and body[-1:] == [QUERY] and start in _VALUES
    if not framed or not items or not all(item in known for item in items):
        raise InputError("this is not a MODES prompt", fix="BOS CTL10, maps f to i, one residue, ?")
    results: list[int] = []
    for item in items:
        results.append(_applied(item, results[-1] if results else start))
    return ModesTask(items, start, tuple(results))


def read_modes_completion(
    task: ModesTask, ids: Sequence[int], *, openers: tuple[tuple[int, ...], ...], cue: bool, ended: bool
) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_modes_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        openers: token ids that begin a worked answer in this world.
        cue: whether a completion may begin with the cue, as one does that was prefilled with it.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    steps: list[tuple[int, int, int]] = []
    strategy, finished, depth = "", False, len(task.items)
    try:
        if cue and walk.next == CUE:
            walk.take(Role.SYNTAX, (CUE,))
        own = task.results[-1]
        if walk.next == ANS:
            strategy = "DIR"
        else:
            _open(walk, openers)
            strategy = "FWD"
            own = _work(walk, task, steps)
        walk.take(Role.SYNTAX, (ANS,))
        if strategy == "FWD" and len(steps) < depth:
            walk.flag()
        walk.take(Role.ANSWER, _VALUES, (own,))
        finished = walk.end() and (strategy == "DIR" or len(steps) == depth)
    except Lost:
        pass
    right, before = 0, task.start
    for step, item, result in zip(steps, task.items, task.results, strict=False):
        right += step == (item, before, result)
        before = result
    answer = answered(ids)
    return verdict(
        walk,
        answer=answer if len(answer) == 1 and answer[0] in _VALUES else (),
        outcome=answer == (task.results[-1],),
        lenient=last_value(list(ids)) == task.results[-1],
        finished=finished,
        ended=ended,
        process=right / depth,
        efficiency=min(1.0, depth / len(steps)) if steps else math.nan,
        strategy=strategy,
    )


def _open(walk: Walk, openers: tuple[tuple[int, ...], ...]) -> None:
    """Read one of the openers."""
    rest = tuple(walk.ids[len(walk.roles) :])
    for token in next((one for one in openers if rest[: len(one)] == one), ()):
        walk.take(Role.STRATEGY, (token,))
    if not walk.roles or walk.roles[-1] != Role.STRATEGY:
        raise Lost


def _work(walk: Walk, task: ModesTask, steps: list[tuple[int, int, int]]) -> int:
    """Read the steps up to the answer; the completion's own last result."""
    own, items = task.start, _ITEMS_OF[task.items[0] in _VALUES]
    while walk.next != ANS:
        item = walk.take(Role.COPY, items, task.items[len(steps) : len(steps) + 1])
        before = walk.take(Role.LOOKUP if steps else Role.COPY, _VALUES, (own,))
        own = walk.take(Role.ARITHMETIC, _VALUES, (_applied(item, before),))
        steps.append((item, before, own))
        walk.take(Role.SYNTAX, (END,))
    return own


_ITEMS_OF = {False: range(MAP, MAP + len(MAPS)), True: _VALUES}
"""Whether numbers are added -> the tokens that a step may begin with."""


def _applied(item: int, value: int) -> int:
    if item in _VALUES:
        return VALUE + (item + value - 2 * VALUE) % MODULUS
    return VALUE + TABLES[item - MAP][value - VALUE]
