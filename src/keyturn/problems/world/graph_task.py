"""The task of a GRAPH prompt, derived from its tokens alone: definitions, values, needed variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from keyturn.core.errors import InputError
from keyturn.problems.world.vocabulary import (
    ASK,
    BOS,
    END,
    EQUALS,
    MINUS,
    NOUN,
    NOUNS,
    NOUNS_EACH,
    PLUS,
    TIMES,
    VALUE,
)

LAST_NOUN = NOUN + NOUNS_EACH * len(NOUNS) - 1
Written: TypeAlias = "tuple[int, ...]"
"""A definition's right side in token ids: ``(value,)`` or ``(argument, operation, argument)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphTask:
    """The task of a prompt. Variables are token ids.

    Args:
        modulus: modulus of the arithmetic, the only thing that the prompt does not say.
        free: whether the world's texts use any valid order (which decides the known entropy).
        definitions: variable -> right side, in statement order.
        parents: variable -> the variables on which it builds.
        values: variable -> its value, 0..modulus-1.
        target: the variable asked for.
        needed: the target and its ancestors, in statement order.
        users: variable -> the needed variables that build on it.
        right_steps: cache of the verifier.
    """

    modulus: int
    free: bool
    definitions: dict[int, Written]
    parents: dict[int, frozenset[int]]
    values: dict[int, int]
    target: int
    needed: tuple[int, ...]
    users: dict[int, frozenset[int]]
    right_steps: dict = field(default_factory=dict)


def is_noun(token: int) -> bool:
    """Whether a token can name a variable."""
    return NOUN <= token <= LAST_NOUN


def is_operation(token: int) -> bool:
    """Whether a token is an operation."""
    return PLUS <= token <= TIMES


def combine(operation: int, a: int, b: int, modulus: int) -> int:
    """The value of ``a operation b``."""
    if operation == PLUS:
        return (a + b) % modulus
    if operation == MINUS:
        return (a - b) % modulus
    return a * b % modulus


def read_graph_prompt(ids: list[int], modulus: int, *, free: bool) -> GraphTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a GRAPH prompt, or its definitions do not give the target a value.
    """
    if len(ids) < 8 or ids[0] != BOS or ids[-2] != ASK:
        raise InputError("this is not a GRAPH prompt", fix="BOS, a context, statements, ASK, a name")
    definitions = _statements(ids[2:-2], modulus)
    parents = {name: frozenset(filter(is_noun, right)) for name, right in definitions.items()}
    target = ids[-1]
    values: dict[int, int] = {}
    waiting = list(definitions)
    while waiting:
        later = []
        for name in waiting:
            if parents[name] <= values.keys():
                values[name] = _value(definitions[name], values, modulus)
            else:
                later.append(name)
        if len(later) == len(waiting):
            raise InputError("a GRAPH prompt has circular or missing definitions", fix="define every name once")
        waiting = later
    if target not in values:
        raise InputError("a GRAPH prompt asks for a name that it does not define", fix="ASK a defined name")
    needed = {target}
    stack = [target]
    while stack:
        for parent in parents[stack.pop()] - needed:
            needed.add(parent)
            stack.append(parent)
    return GraphTask(
        modulus=modulus,
        free=free,
        definitions=definitions,
        parents=parents,
        values=values,
        target=target,
        needed=tuple(name for name in definitions if name in needed),
        users={name: frozenset(user for user in needed if name in parents[user]) for name in definitions},
    )


def _statements(ids: list[int], modulus: int) -> dict[int, Written]:
    definitions: dict[int, Written] = {}
    at = 0
    while at < len(ids):
        end = ids.index(END, at) if END in ids[at:] else len(ids)
        statement = ids[at:end]
        right = tuple(statement[2:])
        literals = [token - VALUE for token in right[::2] if not is_noun(token)]
        constant = len(right) == 1 and not is_noun(right[0])
        whole = len(statement) > 2 and is_noun(statement[0]) and statement[1] == EQUALS and end < len(ids)
        shaped = constant or (len(right) == 3 and is_operation(right[1]))
        if (
            not whole
            or not shaped
            or statement[0] in definitions
            or not all(0 <= v < modulus for v in literals)
        ):
            raise InputError(
                "a statement of a GRAPH prompt cannot be read", fix="name = value ; or name = a + b ;"
            )
        definitions[statement[0]] = right
        at = end + 1
    return definitions


def _value(right: Written, values: dict[int, int], modulus: int) -> int:
    known = [values[token] if is_noun(token) else token - VALUE for token in right[::2]]
    return known[0] if len(known) == 1 else combine(right[1], known[0], known[1], modulus)
