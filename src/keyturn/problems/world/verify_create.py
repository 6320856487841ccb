"""The verifier of CREATE: reads prompt and completion tokens, and accepts any construction of the target.

*outcome*: the statements build the target by true arithmetic, from given numbers that are each used at most
once, in exactly the requested number of operations, with every result but the last used exactly once; and the
answer repeats the target. *verified*: outcome, and every fetched or computed value in the text is right. A
planning token (operand or operation) is right if the target can still be reached after it, by the completion's
own values. Once it cannot, the error has been made, and later choices are errors only if they use an
unavailable operand. *choices* is the number of right tokens and *floor* its logarithm: the entropy of texts
that choose uniformly among them. The corpus does so, but draws again if the form is held out, so the floor is
exact if all forms are shown.

Further columns: ``canonical``, the form ("" unless outcome), and ``novel``, 1 if pretraining cannot have used
that form, 0 if it may have (NaN unless outcome).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.create_build import Build
from keyturn.problems.world.create_forms import OPERATIONS, calculate, is_shown
from keyturn.problems.world.graph_task import LAST_NOUN
from keyturn.problems.world.reading import LAST_VALUE, Reading, last_value
from keyturn.problems.world.vocabulary import (
    ANS,
    ASK,
    BOS,
    CONTEXTS,
    DO,
    END,
    EQUALS,
    ID,
    NOUN,
    NOUNS_EACH,
    PLUS,
    VALUE,
)
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

MARK = ID["CTL4"]
_SIGNS = range(PLUS, PLUS + len(OPERATIONS))
_OPERANDS = (*range(VALUE, LAST_VALUE + 1), *range(NOUN, LAST_NOUN + 1))
_CONTEXTS = range(ID[CONTEXTS[0]], ID[CONTEXTS[0]] + len(CONTEXTS))


class CreateTask(NamedTuple):
    """What a CREATE prompt asks.

    Args:
        numbers: the given numbers, sorted.
        operations: exact number of operations.
        target: the value to reach.
        names: tokens that name the results, in order.
        modulus: modulus of the arithmetic.
        shown: share of forms that pretraining may use.
    """

    numbers: tuple[int, ...]
    operations: int
    target: int
    names: range
    modulus: int
    shown: float


class _Built:
    """The results of the statements read so far."""

    def __init__(self, task: CreateTask) -> None:
        self.build = Build(task.numbers, task.operations, task.target, task.modulus)
        self.true: dict[int, int] = {}
        """Name -> value by true arithmetic."""
        self.sound = True
        """Whether every operand was available."""
        self.steps: list[bool] = []
        self.last = -1


def read_create_prompt(ids: list[int], modulus: int, shown: float) -> CreateTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a CREATE prompt.
    """
    values = [token - VALUE for token in ids[3:]]
    framed = len(ids) > 8 and ids[:2] == [BOS, MARK] and ids[2] in _CONTEXTS
    if not framed or ids[-4] != END or ids[-2] != ASK:
        raise InputError(
            "this is not a CREATE prompt", fix="BOS, CTL4, a context, numbers, ;, operations, ASK, target"
        )
    *numbers, _, operations, _, target = values
    if not all(0 <= number < modulus for number in (*numbers, target)) or not 1 <= operations < len(numbers):
        raise InputError("a CREATE prompt asks for the impossible", fix="more numbers than operations")
    first = NOUN + NOUNS_EACH * (ids[2] - _CONTEXTS[0])
    names = range(first, first + NOUNS_EACH)
    return CreateTask(tuple(sorted(numbers)), operations, target, names, modulus, shown)


def read_create_completion(task: CreateTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_create_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    built = _Built(task)
    finished = False
    try:
        while walk.next == DO:
            _statement(task, walk, built)
        walk.take(Role.SYNTAX, (ANS,))
        if len(built.steps) != task.operations:
            walk.flag()
        walk.take(Role.ANSWER, range(VALUE, VALUE + task.modulus), (VALUE + built.last,))
        finished = walk.end()
    except Lost:
        pass
    answer = answered(ids)
    whole = finished and built.sound and len(built.steps) == task.operations and len(built.build.forms) == 1
    outcome = whole and list(built.true.values())[-1:] == [task.target] and answer == (VALUE + task.target,)
    form = next(iter(built.build.forms.values())) if outcome else ""
    known = is_shown(form, task.modulus, task.shown)
    reading = verdict(
        walk,
        answer=answer if len(answer) == 1 and VALUE <= answer[0] < VALUE + task.modulus else (),
        outcome=outcome,
        lenient=last_value(list(ids)) == VALUE + task.target,
        finished=finished,
        ended=ended,
        process=sum(built.steps[: task.operations]) / task.operations,
        efficiency=min(1.0, task.operations / len(built.steps)) if built.steps else math.nan,
    )
    return reading._replace(
        floors=[math.log(n) if n else 0.0 for n in walk.choices],
        more={"canonical": form, "novel": float(not known) if outcome else math.nan},
    )


def _statement(task: CreateTask, walk: Walk, built: _Built) -> None:
    """``DO [name] a + [name] b = r name ;``: a name comes before each fetched value."""
    before = len(walk.errors)
    build, values = built.build, range(VALUE, VALUE + task.modulus)
    walk.take(Role.SYNTAX, (DO,))
    if len(built.steps) >= task.operations:
        walk.flag()
    a = _choose(walk, _OPERANDS, build.right_first(), build.operands())
    x = _fetch(walk, a, build, values)
    sign = _choose(walk, _SIGNS, build.right_operations(a), _SIGNS)
    there = [b for b in build.operands() if build.can_join(a, b)] or build.operands()
    b = _choose(walk, _OPERANDS, build.right_second(a, sign), there)
    y = _fetch(walk, b, build, values)
    walk.take(Role.SYNTAX, (EQUALS,))
    due = calculate(OPERATIONS[sign - PLUS], x, y, task.modulus)
    result = walk.take(Role.ARITHMETIC, values, (VALUE + due,)) - VALUE
    name = walk.take(Role.REPEAT, task.names, task.names[len(built.steps) : len(built.steps) + 1])
    walk.take(Role.SYNTAX, (END,))
    truly = [built.true.get(token, token - VALUE) for token in (a, b)]
    built.true.pop(name, None)
    built.true[name] = calculate(OPERATIONS[sign - PLUS], truly[0], truly[1], task.modulus)
    if build.can_join(a, b) and name not in build.values:
        build.join(name, a, sign, b, result)
    else:
        built.sound = False
        build.put(name, result)
    built.last = result
    right = built.true[name] == result and build.on_the_way
    built.steps.append(right and not any(walk.errors[before:]))


def _choose(walk: Walk, allowed: Collection[int], right: list[int], there: Collection[int]) -> int:
    """A choice; tokens that keep the target reachable are right, as long as there are any."""
    return walk.take(Role.PLAN, allowed, right or there, choice=bool(right))


def _fetch(walk: Walk, operand: int, build: Build, values: Collection[int]) -> int:
    """The value of an operand: of a number its own, of a name the one that the completion gave it."""
    if operand < NOUN:
        return operand - VALUE
    own = build.values.get(operand)
    return walk.take(Role.LOOKUP, values, values if own is None else (VALUE + own,)) - VALUE
