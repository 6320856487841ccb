"""The arithmetic behind a GRAPH problem: definitions that build on one another, one of which is asked for.

Values are balanced, and no form of the last operation reveals the answer. Literals are uniform (factors are
never 0). A product of two variables that is zero is kept just often enough to give zero its fair share. The
last operation never multiplies two variables, since then a zero answer could not depend on every leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from keyturn.problems.world.dice import Dice

CONSTANT = -1
"""In place of an operation: the definition is a constant."""
PLUS, MINUS, TIMES = range(3)

_CONSUME_ONE = 0.75
_LITERAL = 0.5
_ATTEMPTS = 20_000
"""Drafts before a split is taken to hold no such problem (validation has some seven with one operation)."""


class Definition(NamedTuple):
    """``operation`` of two arguments, or a constant.

    An argument of 0 or more is the number of another definition, and ``-1 - v`` is the literal v. A constant
    has its value as the literal ``a``, and -1 as ``b``.
    """

    operation: int
    a: int
    b: int

    @property
    def parents(self) -> tuple[int, ...]:
        """Numbers of the definitions that it builds on."""
        return tuple(arg for arg in (self.a, self.b) if arg >= 0)


class Dag(NamedTuple):
    """Definitions in an order in which they can be computed; those needed come first.

    Args:
        definitions: one per variable.
        values: their values, in 0..modulus-1.
        target: the variable that is asked for.
        needed: definitions 0..needed-1 are ancestors of the target or the target itself.
        operations: number of needed definitions that are not constants.
        hanging: number of distractors that build on needed definitions.
        disconnected: number of the other distractors.
    """

    definitions: list[Definition]
    values: list[int]
    target: int
    needed: int
    operations: int
    hanging: int
    disconnected: int


class Shape(NamedTuple):
    """The requested shape of a DAG.

    Args:
        operations: exact number of needed operations.
        leaves: maximum number of needed constants.
        hanging: exact number of distractors on needed variables.
        disconnected: exact number of other distractors.
        reuse: probability that a free operand names a variable already used (else a leaf or a literal).
        modulus: a prime.
    """

    operations: int
    leaves: int
    hanging: int
    disconnected: int
    reuse: float
    modulus: int


def draw(shape: Shape, dice: Dice, accept: Callable[[str], bool], answer: int | None = None) -> Dag | None:
    """A DAG of this shape whose target depends on every leaf; None if none was found.

    Args:
        shape: the requested shape.
        dice: source of randomness.
        accept: whether the :func:`canonical` form is wanted; called before the costlier test of the leaves.
        answer: value that the target must have; any by default.
    """
    for _ in range(_ATTEMPTS):
        draft = _Draft(shape, dice)
        draft.build()
        if answer not in (None, draft.values[-1]) or not accept(canonical(draft.definitions)):
            continue
        if _depends_on_all(draft.definitions, draft.values, shape.modulus):
            needed = len(draft.definitions)
            draft.distract(needed)
            target, apart = needed - 1, shape.disconnected
            return Dag(draft.definitions, draft.values, target, needed, shape.operations, shape.hanging, apart)
    return None


def apply(operation: int, a: int, b: int, modulus: int) -> int:
    """The value of an operation."""
    return (a + b if operation == PLUS else a - b if operation == MINUS else a * b) % modulus


def canonical(needed: Sequence[Definition]) -> str:
    """The last of the needed definitions, unfolded.

    Invariant to names, statement order, distractors, order of commuting arguments and sharing. Equal problems
    have equal forms; some different ones have too, which only makes splits stricter.
    """
    forms: list[str] = []
    for operation, a, b in needed:
        if operation == CONSTANT:
            forms.append(f"c{-1 - a}")
            continue
        left = forms[a] if a >= 0 else str(-1 - a)
        right = forms[b] if b >= 0 else str(-1 - b)
        if operation != MINUS and right < left:
            left, right = right, left
        forms.append(f"({'+-*'[operation]}{left} {right})")
    return forms[-1]


class _Draft:
    """A DAG that is being built."""

    def __init__(self, shape: Shape, dice: Dice) -> None:
        self.shape, self.dice = shape, dice
        self.definitions: list[Definition] = []
        self.values: list[int] = []
        self.leaves: list[int] = []

    def build(self) -> None:
        """Add all needed definitions, the target last."""
        dice, waiting = self.dice, list[int]()
        for left in range(self.shape.operations - 1, -1, -1):
            # Every result must be used later, and each later operation takes at most two: that bounds how
            # many may still wait after this one.
            low, high = max(0, len(waiting) - left), min(2, len(waiting))
            take = 1 if low <= 1 <= high and dice.uniform() < _CONSUME_ONE else low + dice.below(high - low + 1)
            taken = [waiting.pop(dice.below(len(waiting))) for _ in range(take)]
            waiting.append(self._operation(taken, last=left == 0))

    def _operation(self, taken: list[int], *, last: bool) -> int:
        """An operation on the operands taken and on any other that it needs."""
        first = taken[0] if taken else self._first_leaf()
        if len(taken) == 2:
            return self._of_two(first, taken[1], last=last)
        if self.dice.uniform() >= _LITERAL:
            second = self._second(first)
            if second is not None:
                return self._of_two(first, second, last=last)
        return self._of_literal(first)

    def _first_leaf(self) -> int:
        if len(self.leaves) >= self.shape.leaves:
            return self.dice.pick(self.leaves)
        return self._leaf()

    def _second(self, first: int) -> int | None:
        """Another variable for an operation: one in use, or a new leaf; None if there is neither."""
        others = len(self.definitions) - 1
        if others and self.dice.uniform() < self.shape.reuse:
            # Skipping over ``first`` keeps the rest equally likely.
            other = self.dice.below(others)
            return other + (other >= first)
        return self._leaf() if len(self.leaves) < self.shape.leaves else None

    def _leaf(self) -> int:
        value = self.dice.below(self.shape.modulus)
        self.definitions.append(Definition(CONSTANT, -1 - value, -1))
        self.values.append(value)
        self.leaves.append(len(self.definitions) - 1)
        return self.leaves[-1]

    def _of_two(self, a: int, b: int, *, last: bool) -> int:
        """An operation on two variables, in any order."""
        dice, p = self.dice, self.shape.modulus
        operation = dice.below(2 if last else 3)
        zero = operation == TIMES and not self.values[a] * self.values[b] % p
        if zero and dice.uniform() * (2 * p - 1) >= p - 1:
            operation = dice.below(2)
        return self._write(operation, *((a, b) if dice.uniform() < 0.5 else (b, a)))

    def _of_literal(self, known: int) -> int:
        """An operation on a variable and a literal, in any order."""
        dice, p = self.dice, self.shape.modulus
        operation = dice.below(3)
        literal = -1 - (1 + dice.below(p - 1) if operation == TIMES else dice.below(p))
        return self._write(operation, *((known, literal) if dice.uniform() < 0.5 else (literal, known)))

    def _write(self, operation: int, a: int, b: int) -> int:
        x = self.values[a] if a >= 0 else -1 - a
        y = self.values[b] if b >= 0 else -1 - b
        self.definitions.append(Definition(operation, a, b))
        self.values.append(apply(operation, x, y, self.shape.modulus))
        return len(self.definitions) - 1

    def distract(self, needed: int) -> None:
        """Add the definitions that are not needed."""
        dice = self.dice
        for _ in range(self.shape.hanging):
            # Not on the target itself, since a distractor must be computable before the end.
            base = dice.below(needed - 1)
            if needed > 2 and dice.uniform() >= _LITERAL:
                other = dice.below(needed - 2)
                self._of_two(base, other + (other >= base), last=False)
            else:
                self._of_literal(base)
        apart = len(self.definitions)
        for _ in range(self.shape.disconnected):
            if len(self.definitions) > apart and dice.uniform() < 0.5:
                self._of_literal(apart + dice.below(len(self.definitions) - apart))
            else:
                self._leaf()


def _depends_on_all(definitions: list[Definition], values: list[int], modulus: int) -> bool:
    return all(
        any(_changed(definitions, values, leaf, other, modulus) for other in range(modulus) if other != value)
        for leaf, value in enumerate(values)
        if definitions[leaf].operation == CONSTANT
    )


def _changed(definitions: list[Definition], values: list[int], leaf: int, other: int, modulus: int) -> bool:
    """Whether the last value changes if a leaf has the value ``other``."""
    now: list[int] = []
    for i, (operation, a, b) in enumerate(definitions):
        if operation == CONSTANT:
            now.append(other if i == leaf else values[i])
        else:
            x = now[a] if a >= 0 else -1 - a
            y = now[b] if b >= 0 else -1 - b
            now.append((x + y if operation == PLUS else x - y if operation == MINUS else x * y) % modulus)
    return now[-1] != values[-1]
