"""The verifier's own description of the three formats, independent of the code that writes the texts."""

from __future__ import annotations

from typing import NamedTuple

from keyturn.core.roles import Role
from keyturn.problems.world.graph_task import GraphTask, is_noun
from keyturn.problems.world.vocabulary import ARROW, DEFINE, DO, END, EQUALS, EX, ID, VALUE

_S, _AR, _PL, _CP, _LK, _XC = map(
    int, (Role.SYNTAX, Role.REPEAT, Role.PLAN, Role.COPY, Role.LOOKUP, Role.ARITHMETIC)
)
_TO, _FIND, _TAKE, _SINCE, _IS, _AND, _SO, _DOT = (
    ID[name] for name in ("to", "find", "take", "since", "is", "and", "so", ".")
)


class Grammar(NamedTuple):
    """The fixed words of a format, in the order in which a step has them.

    Args:
        opening: words before the variable's name.
        defines: words between the name and its definition.
        prefix: whether the operation comes before its arguments.
        closes: words after the definition.
        first: words before the first fetched value.
        next: words before each further one.
        named: whether a fetched value follows its variable's name, so that only variables are fetched.
        relates: words between that name and the value.
        concludes: words before the result (and, if ``named``, before the variable's name).
        equals: words right before the result.
        ends: words after the result.
    """

    opening: tuple[int, ...]
    defines: int
    prefix: bool
    closes: tuple[int, ...]
    first: tuple[int, ...]
    next: tuple[int, ...]
    named: bool
    relates: tuple[int, ...]
    concludes: int
    equals: tuple[int, ...]
    ends: int


GRAMMARS = {
    "F1": Grammar((DO,), EQUALS, False, (END,), (), (), True, (), EX, (), END),
    "F2": Grammar((), DEFINE, True, (), (ARROW,), (), False, (), ARROW, (), END),
    "F3": Grammar((_TO, _FIND), _TAKE, False, (_DOT,), (_SINCE,), (_AND,), True, (_IS,), _SO, (_IS,), _DOT),
}


def right_tokens(task: GraphTask, fmt: str, name: int) -> tuple[list[int], list[int]]:
    """The right step for a variable whose parents have their right values: tokens and roles."""
    written, value = task.definitions[name], VALUE + task.values[name]
    known = [task.values[token] + VALUE if is_noun(token) else token for token in written[::2]]
    pairs = list(zip(written[::2], known, strict=True))
    named = [pair for pair in pairs if is_noun(pair[0])]
    single = len(written) == 1
    parts: list[tuple[int, int]] = []
    last = _LK if single else _XC
    if fmt == "F2":
        copied = written if single else (written[1], written[0], written[2])
        parts += [(name, _PL), (DEFINE, _S), *((token, _CP) for token in copied), (ARROW, _S)]
        if not single:
            parts += [*((token, _LK) for token in known), (ARROW, _S)]
        parts += [(value, last), (END, _S)]
    elif fmt == "F1":
        parts += [(DO, _S), (name, _PL), (EQUALS, _S), *((token, _CP) for token in written), (END, _S)]
        for token, fetched in named:
            parts += [(token, _AR), (fetched, _LK)]
        parts += [(EX, _S), (name, _AR), (value, last), (END, _S)]
    else:
        parts += [(_TO, _S), (_FIND, _S), (name, _PL), (_TAKE, _S), *((token, _CP) for token in written)]
        parts += [(_DOT, _S)]
        for place, (token, fetched) in enumerate(named):
            parts += [(_AND if place else _SINCE, _S), (token, _AR), (_IS, _S), (fetched, _LK)]
        parts += [(_SO, _S), (name, _AR), (_IS, _S), (value, last), (_DOT, _S)]
    return [token for token, _ in parts], [role for _, role in parts]
