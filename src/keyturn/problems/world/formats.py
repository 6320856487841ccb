"""Three surfaces of one step. Each copies the definition first, then fetches values, then gives the result.

    F1  DO v = a + b ; a 2 b 3 EX v 0 ;                                    DO v = 2 ; EX v 2 ;
    F2  v := + a b -> 2 3 -> 0 ;                                           v := 2 -> 2 ;
    F3  to find v take a + b . since a is 2 and b is 3 so v is 0 .         to find v take 2 . so v is 2 .

A literal operand needs no fetching: F1 and F3 leave it out, F2 repeats it. (In the pilot, docs/world.md, a
layout with the values inside the copied expression was not learnt, so F3 copies first too.)
"""

from __future__ import annotations

from typing import NamedTuple

from keyturn.core.roles import Role
from keyturn.problems.world.vocabulary import (
    ARROW,
    BACK,
    DEFINE,
    DO,
    END,
    EQUALS,
    EX,
    ID,
    VALUE,
)

_S, _AR, _PL, _CP, _LK, _XC = (
    int(role) for role in (Role.SYNTAX, Role.REPEAT, Role.PLAN, Role.COPY, Role.LOOKUP, Role.ARITHMETIC)
)
_WRONG, _BACK = int(Role.WRONG), int(Role.BACKTRACK)
_TO, _FIND, _TAKE, _SINCE, _IS, _AND, _SO, _DOT = (
    ID[word] for word in ("to", "find", "take", "since", "is", "and", "so", ".")
)

OPERATION_TOKENS = {"F1": 15, "F2": 11, "F3": 21}
"""Tokens of an operation on two variables, the longest step of a format."""
CONSTANT_TOKENS = {"F1": 9, "F2": 6, "F3": 11}
"""Tokens of a constant's step."""


class Step(NamedTuple):
    """One computed variable, in token ids.

    Args:
        name: id of the variable's name.
        operation: id of the operation, -1 for a constant.
        args: ids of the two arguments as in the prompt (for a constant, its value alone).
        fetched: the arguments' values, in 0..modulus-1.
        named: whether each argument is a variable.
        result: the step's result.
    """

    name: int
    operation: int
    args: tuple[int, ...]
    fetched: tuple[int, ...]
    named: tuple[bool, ...]
    result: int


def write(fmt: str, step: Step, ids: list[int], roles: list[int]) -> None:
    """Append one step. The planning token is the name, at offset :data:`NAME_AT` from the step's start."""
    _WRITERS[fmt](step, ids, roles)


def write_retracted(fmt: str, name: int, ids: list[int], roles: list[int]) -> None:
    """Append a step that is begun on a wrong variable and retracted at once."""
    ids += (*_OPENERS[fmt], name, BACK, _DOT if fmt == "F3" else END)
    roles += (*[_S] * len(_OPENERS[fmt]), _WRONG, _BACK, _S)


def _eqn(step: Step, ids: list[int], roles: list[int]) -> None:
    name, operation, args, fetched, named, result = step
    if operation < 0:
        ids += (DO, name, EQUALS, args[0], END, EX, name, VALUE + result, END)
        roles += (_S, _PL, _S, _CP, _S, _S, _AR, _LK, _S)
        return
    ids += (DO, name, EQUALS, args[0], operation, args[1], END)
    roles += (_S, _PL, _S, _CP, _CP, _CP, _S)
    for arg, value, variable in zip(args, fetched, named, strict=True):
        if variable:
            ids += (arg, VALUE + value)
            roles += (_AR, _LK)
    ids += (EX, name, VALUE + result, END)
    roles += (_S, _AR, _XC, _S)


def _code(step: Step, ids: list[int], roles: list[int]) -> None:
    name, operation, args, fetched, _, result = step
    if operation < 0:
        ids += (name, DEFINE, args[0], ARROW, VALUE + result, END)
        roles += (_PL, _S, _CP, _S, _LK, _S)
        return
    ids += (
        name,
        DEFINE,
        operation,
        *args,
        ARROW,
        VALUE + fetched[0],
        VALUE + fetched[1],
        ARROW,
        VALUE + result,
        END,
    )
    roles += (_PL, _S, _CP, _CP, _CP, _S, _LK, _LK, _S, _XC, _S)


def _prose(step: Step, ids: list[int], roles: list[int]) -> None:
    name, operation, args, fetched, named, result = step
    ids += (_TO, _FIND, name, _TAKE)
    roles += (_S, _S, _PL, _S)
    if operation < 0:
        ids += (args[0], _DOT, _SO, name, _IS, VALUE + result, _DOT)
        roles += (_CP, _S, _S, _AR, _S, _LK, _S)
        return
    ids += (args[0], operation, args[1], _DOT)
    roles += (_CP, _CP, _CP, _S)
    opener = _SINCE
    for arg, value, variable in zip(args, fetched, named, strict=True):
        if variable:
            ids += (opener, arg, _IS, VALUE + value)
            roles += (_S, _AR, _S, _LK)
            opener = _AND
    ids += (_SO, name, _IS, VALUE + result, _DOT)
    roles += (_S, _AR, _S, _XC, _S)


_WRITERS = {"F1": _eqn, "F2": _code, "F3": _prose}
_OPENERS: dict[str, tuple[int, ...]] = {"F1": (DO,), "F2": (), "F3": (_TO, _FIND)}
NAME_AT = {fmt: len(opener) for fmt, opener in _OPENERS.items()}
"""Position of the planning token in a step."""
