"""Possible constructions: arithmetic modulo a prime over given numbers, each used at most once.

A *construction* is an expression tree with a given number of operations. Its canonical form ignores the order
of computation and the order of the operands of + and *, e.g. ``((2*5)-3)``. All forms over some numbers are
listed by recursion over partitions of the numbers, so diversity has an exact denominator. A form is *shown* if
its hash lies in the share of forms that pretraining may use. So the form alone decides whether an answer is
new, and no list is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

OPERATIONS = "+-*"


def calculate(operation: str, a: int, b: int, modulus: int) -> int:
    """The value of ``a operation b``."""
    return (a + b if operation == "+" else a - b if operation == "-" else a * b) % modulus


def joined(operation: str, a: str, b: str) -> str:
    """The canonical form of ``a operation b``."""
    if operation != "-" and b < a:
        a, b = b, a
    return f"({a}{operation}{b})"


def is_shown(form: str, modulus: int, share: float) -> bool:
    """Whether pretraining may use a form."""
    text = f"{modulus} {form}".encode()
    digest = hashlib.blake2b(text, digest_size=8, person=b"keyturn-create").digest()
    return int.from_bytes(digest, "little") < share * 2.0**64


@lru_cache(maxsize=512)
def forms(numbers: tuple[int, ...], operations: int, modulus: int) -> dict[int, frozenset[str]]:
    """Value -> all canonical forms with exactly ``operations`` operations over some of the (sorted) numbers."""
    found: dict[int, set[str]] = {}
    for chosen in sorted(set(combinations(numbers, operations + 1))):
        for form, value in _trees(chosen, modulus):
            found.setdefault(value, set()).add(form)
    return {value: frozenset(group) for value, group in found.items()}


@lru_cache(maxsize=1 << 14)
def tally(numbers: tuple[int, ...], operations: int, modulus: int, share: float) -> dict[int, tuple[int, int]]:
    """Value -> number of forms, and number of those that pretraining may use."""
    every = forms(numbers, operations, modulus)
    return {
        v: (len(group), sum(is_shown(form, modulus, share) for form in group)) for v, group in every.items()
    }


@lru_cache(maxsize=4096)
def _trees(numbers: tuple[int, ...], modulus: int) -> tuple[tuple[str, int], ...]:
    """All forms that use every number, with their values."""
    if len(numbers) == 1:
        return ((str(numbers[0]), numbers[0]),)
    found: dict[str, int] = {}
    for left, right in _parted(numbers):
        for a, x in _trees(left, modulus):
            for b, y in _trees(right, modulus):
                for operation in OPERATIONS:
                    found[joined(operation, a, b)] = calculate(operation, x, y, modulus)
    return tuple(found.items())


def _parted(numbers: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every ordered partition of the numbers into two parts."""
    places = range(len(numbers))
    parted = {
        (tuple(numbers[i] for i in left), tuple(numbers[i] for i in places if i not in left))
        for size in range(1, len(numbers))
        for left in combinations(places, size)
    }
    yield from sorted(parted)


class State(NamedTuple):
    """The state of a partial construction.

    Args:
        open: computed values that are not yet used, sorted.
        left: given numbers that are not yet used, sorted.
        operations: number of operations that remain.
    """

    open: tuple[int, ...]
    left: tuple[int, ...]
    operations: int


@lru_cache(maxsize=1 << 18)
def reachable(state: State, target: int, modulus: int) -> bool:
    """Whether the construction can still reach the target with every computed value used exactly once."""
    if state.operations == 0:
        return state.open == (target,)
    if len(state.open) - 1 > state.operations:
        return False
    pool = [(value, True) for value in state.open] + [(value, False) for value in state.left]
    for (a, a_open), (b, b_open) in combinations(pool, 2):
        for operation in OPERATIONS:
            for x, y in ((a, b), (b, a)) if operation == "-" else ((a, b),):
                value = calculate(operation, x, y, modulus)
                if reachable(after(state, (a, a_open), (b, b_open), value), target, modulus):
                    return True
    return False


def after(state: State, a: tuple[int, bool], b: tuple[int, bool], value: int) -> State:
    """The state after two operands, each (value, whether computed), were combined to ``value``."""
    computed, given = list(state.open), list(state.left)
    for number, is_open in (a, b):
        (computed if is_open else given).remove(number)
    return State(tuple(sorted([*computed, value])), tuple(given), state.operations - 1)
