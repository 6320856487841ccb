"""The verifier of UNANSWERABLE: reads prompt and completion tokens, and knows only the modulus.

A completion is verified if and only if it is, token by token, the one valid trace with its ``EOS``: definitions
from the asked name down to the first that is missing or contradicts itself, then ``CTL9``; or all of them, the
values upwards, and the answer. If the prompt determines a value, this value is the right answer; otherwise
``CTL9`` is, whatever the trace. ``process``: share of the needed lines that are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.unanswerable_puzzle import NAMES
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BOS,
    CONTEXTS,
    END,
    EQUALS,
    EX,
    FILLER,
    ID,
    MINUS,
    NEED,
    PLUS,
    QUERY,
    VALUE,
)
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

ABSTAIN = ID["CTL9"]
"""The answer that there is none."""
CONTEXT = ID[CONTEXTS[0]]
_SIGNS = (PLUS, MINUS)


class UnanswerableTask(NamedTuple):
    """What an UNANSWERABLE prompt asks."""

    modulus: int
    path: tuple[int, ...]
    """Names from the asked one down to the bottom, or to the broken definition."""
    said: dict[int, tuple[tuple[int, ...], ...]]
    """Name -> right-hand sides of its definitions in the order of the prompt, as token ids."""
    values: tuple[int, ...]
    """Value of every name of the path, bottom first; () if one is broken."""


def read_unanswerable_prompt(ids: Sequence[int], modulus: int) -> UnanswerableTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not such a prompt, or its definitions go in a circle.
    """
    wrong = InputError("this is not an UNANSWERABLE prompt", fix="BOS C1, definitions, ASK, a name, ?")
    framed = len(ids) > 5 and tuple(ids[:2]) == (BOS, CONTEXT) and ids[-3] == ASK and ids[-1] == QUERY
    if not framed or ids[-4] != END or ids[-2] not in NAMES:
        raise wrong
    said: dict[int, tuple[tuple[int, ...], ...]] = {}
    statement: list[int] = []
    for token in ids[2:-3]:
        statement.append(token)
        if token == END:
            if not _is_definition(statement, modulus):
                raise wrong
            said[statement[0]] = (*said.get(statement[0], ()), tuple(statement[2:-1]))
            statement = []
    path = [ids[-2]]
    while len(said.get(path[-1], ())) == 1 and len(said[path[-1]][0]) == 3:
        if said[path[-1]][0][0] in path:
            raise wrong
        path.append(said[path[-1]][0][0])
    out: list[int] = []
    if len(said.get(path[-1], ())) == 1:
        for name in reversed(path):
            written = said[name][0]
            before = out[-1] if out else 0
            out.append((before + (-1 if written[-2:-1] == (MINUS,) else 1) * (written[-1] - VALUE)) % modulus)
    return UnanswerableTask(modulus, tuple(path), said, tuple(out))


def read_unanswerable_completion(task: UnanswerableTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_unanswerable_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    gold = VALUE + task.values[-1] if task.values else ABSTAIN
    residues = range(VALUE, VALUE + task.modulus)
    walk, right, needed = Walk(ids), [0], len(task.path) + len(task.values)
    finished, lines = False, 0
    try:
        while walk.next == NEED:
            _need(task, walk, lines, right)
            lines += 1
        computed: list[int] = []
        listed = lines == len(task.path)
        while walk.next == EX:
            _compute(task, walk, computed, right, listed=listed)
        walk.take(Role.SYNTAX, (ANS,))
        if len(computed) != len(task.values) or not (listed or computed):
            walk.flag()
        due = VALUE + computed[-1] if computed else gold
        walk.take(Role.ANSWER, (*residues, ABSTAIN), (due,))
        lines += len(computed)
        finished = walk.end()
    except Lost:
        pass
    answer = answered(ids)
    answer = answer if len(answer) == 1 and (answer[0] in residues or answer[0] == ABSTAIN) else ()
    return verdict(
        walk,
        answer=answer,
        outcome=answer == (gold,),
        lenient=next((i for i in reversed(ids) if i in residues or i == ABSTAIN), -1) == gold,
        finished=finished,
        ended=ended,
        process=right[0] / needed,
        efficiency=min(1.0, needed / lines) if lines else math.nan,
    )


def _is_definition(statement: list[int], modulus: int) -> bool:
    name, equals, *written = statement[:-1] if len(statement) > 3 else [-1, -1]
    constant = written[-1] - VALUE if written else -1
    fits = name in NAMES and equals == EQUALS and 0 <= constant < modulus
    return fits and (len(written) == 1 or (len(written) == 3 and written[0] in NAMES and written[1] in _SIGNS))


def _need(task: UnanswerableTask, walk: Walk, at: int, right: list[int]) -> None:
    """``NEED name = a + c ;``, ``NEED name ~ ;`` without a definition, or both definitions if it has two."""
    walk.take(Role.SYNTAX, (NEED,))
    start = len(walk.errors)
    due = task.path[at : at + 1]
    name = walk.take(Role.GOAL, NAMES, due, choice=True)
    said = task.said.get(name, ())
    if walk.next == FILLER:
        walk.take(Role.VERIFY, (FILLER,), () if said else (FILLER,))
        walk.take(Role.SYNTAX, (END,))
    else:
        walk.take(Role.VERIFY, (EQUALS,), (EQUALS,) if said else ())
        _definition(task, walk, said[0] if said else ())
        if walk.take(Role.VERIFY, (EQUALS, END), (EQUALS,) if len(said) > 1 else (END,)) == EQUALS:
            _definition(task, walk, said[1] if len(said) > 1 else ())
            walk.take(Role.SYNTAX, (END,))
    right[0] += not any(walk.errors[start:])


def _definition(task: UnanswerableTask, walk: Walk, due: tuple[int, ...]) -> None:
    """A right-hand side: a constant, or a name, a sign and a constant."""
    residues = range(VALUE, VALUE + task.modulus)
    if walk.next in NAMES:
        walk.take(Role.COPY, NAMES, due[:1])
        walk.take(Role.COPY, _SIGNS, due[1:2])
        walk.take(Role.COPY, residues, due[2:])
        return
    walk.take(Role.COPY, residues, due if len(due) == 1 else ())


def _compute(
    task: UnanswerableTask, walk: Walk, computed: list[int], right: list[int], *, listed: bool
) -> None:
    """``EX name v ;`` at the bottom, ``EX name v - c r ;`` above: value before, sign, constant, result."""
    residues = range(VALUE, VALUE + task.modulus)
    walk.take(Role.SYNTAX, (EX,))
    at = len(computed)
    if at >= len(task.values) or not (listed or at):
        walk.flag()
    start = len(walk.errors)
    name = walk.take(Role.GOAL, NAMES, task.path[::-1][at : at + 1], choice=True)
    written = (task.said.get(name) or ((),))[0]
    before = computed[-1] if computed else (written[-1] - VALUE if written else -1)
    value = walk.take(Role.LOOKUP, residues, (VALUE + before,)) - VALUE
    if at:
        sign = walk.take(Role.COPY, _SIGNS, written[1:2])
        constant = walk.take(Role.COPY, residues, written[2:]) - VALUE
        result = (value + (-constant if sign == MINUS else constant)) % task.modulus
        value = walk.take(Role.ARITHMETIC, residues, (VALUE + result,)) - VALUE
    walk.take(Role.SYNTAX, (END,))
    fits = at < len(task.values) and value == task.values[at]
    right[0] += fits and not any(walk.errors[start:])
    computed.append(value)
