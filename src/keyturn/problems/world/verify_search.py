"""The verifier of SEARCH: reads prompt and completion tokens, and knows the functions by heart.

A completion is verified if and only if its last attempt reaches the target by right steps, its answer is
where that attempt began, and no step of any attempt is wrong. Giving an attempt up is never an error; going
on from the target is one, and so is an attempt that begins at it. A step is judged by the value that the
completion itself wrote before, so an error counts once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.reading import Reading, last_value
from keyturn.problems.world.vocabulary import (
    ANS,
    BACK,
    BOS,
    DO,
    END,
    FILLER,
    ID,
    NOUN,
    NOUNS_EACH,
    OK,
    QUERY,
    VALUE,
    VALUES,
)
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

MARK = ID["CTL15"]
MODULUS = len(VALUES)
NAMES = 2 * NOUNS_EACH
"""Functions of each kind; their names are the nouns of the first two contexts."""
_VALUES = range(VALUE, VALUE + MODULUS)
KINDS = ("cycles", "stars")
CYCLE = 6
"""Length of the longer cycle; the other one has the rest."""
HUBS = 3


def _draw(kind: str) -> tuple[tuple[int, ...], ...]:
    # Sorting by hashed keys needs no generator, so the functions cannot change with a version of numpy.
    streams = Streams(0, ("world", "search", kind))
    found = []
    for name in range(NAMES):
        order = sorted(range(MODULUS), key=lambda residue, n=name: streams.key(n, residue))
        table = list(range(MODULUS))
        if kind == "cycles":
            for cycle in (order[:CYCLE], order[CYCLE:]):
                for place, residue in enumerate(cycle):
                    table[residue] = cycle[(place + 1) % len(cycle)]
        else:
            for place, residue in enumerate(order[HUBS:]):
                table[residue] = order[place % HUBS]
        found.append(tuple(table))
    return tuple(found)


FUNCTIONS: dict[str, tuple[tuple[int, ...], ...]] = {kind: _draw(kind) for kind in KINDS}
"""Kind -> function -> value at each residue. In *cycles* every function is two cycles, of six and of five; in
*stars* three residues stay where they are and every other one goes to one of them."""


class SearchTask(NamedTuple):
    """What a SEARCH prompt asks."""

    table: tuple[int, ...]
    target: int
    depths: tuple[int, ...]
    """Steps from each residue to the target, 0 where it is never reached (and at the target)."""


def read_search_prompt(ids: list[int], kind: str) -> SearchTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a SEARCH prompt.
    """
    name, target = (ids[2] - NOUN, ids[3] - VALUE) if len(ids) == 5 else (-1, -1)
    framed = len(ids) == 5 and ids[:2] == [BOS, MARK] and ids[4] == QUERY
    if not framed or not 0 <= name < NAMES or not 0 <= target < MODULUS:
        raise InputError("this is not a SEARCH prompt", fix="BOS CTL15, a noun of C1 or C2, a value, ?")
    table = FUNCTIONS[kind][name]
    return SearchTask(table, target, tuple(_steps(table, start, target) for start in range(MODULUS)))


def _steps(table: tuple[int, ...], start: int, target: int) -> int:
    value = start
    for step in range(1, MODULUS):
        value = table[value]
        if value == target:
            return 0 if start == target else step
    return 0


def read_search_completion(task: SearchTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_search_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    attempts, start, finished = 0, -1, False
    steps = {"all": 0, "last": 0}
    target = VALUE + task.target
    others = tuple(value for value in _VALUES if value != target)
    try:
        walk.take(Role.SYNTAX, (DO,))
        while True:
            attempts += 1
            own = start = walk.take(Role.ARBITRARY, _VALUES, others)
            steps["last"] = 0
            while walk.next == END:
                walk.take(Role.SYNTAX, (END,), () if own == target and steps["last"] else (END,))
                own = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + task.table[own - VALUE],))
                steps["last"] += 1
                steps["all"] += 1
            if walk.next != BACK:
                break
            walk.take(Role.BACKTRACK, (BACK,), () if own == target else (BACK,))
        if walk.next == ANS:
            walk.take(Role.SYNTAX, (ANS,))
            walk.take(Role.ANSWER, (FILLER,))
            walk.end()
            raise Lost
        reached = own == target and steps["last"]
        walk.take(Role.VERIFY, (OK,), (OK,) if reached else ())
        walk.take(Role.SYNTAX, (ANS,))
        walk.take(Role.ANSWER, _VALUES, (start,))
        finished = walk.end()
    except Lost:
        pass
    answer = answered(ids)
    right = len(answer) == 1 and answer[0] in _VALUES and bool(task.depths[answer[0] - VALUE])
    needed = task.depths[answer[0] - VALUE] if right else 0
    return verdict(
        walk,
        answer=answer if len(answer) == 1 and answer[0] in (*_VALUES, FILLER) else (),
        outcome=right,
        lenient=last_value(list(ids)) in _VALUES and bool(task.depths[last_value(list(ids)) - VALUE]),
        finished=finished,
        ended=ended,
        process=float(finished and right),
        efficiency=min(1.0, needed / steps["all"]) if steps["all"] else math.nan,
    )._replace(more={"attempts": float(attempts), "steps": float(steps["all"])})
