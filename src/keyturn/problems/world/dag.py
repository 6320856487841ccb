"""The arithmetic behind a GRAPH problem: definitions that build on one another, one of them asked for.

Every needed operation gets its value first, drawn uniformly, and then operands that yield it, so that
values (the answer among them) are balanced and a zero absorbs nothing more often than by chance. A draw in
which the target does not depend on every leaf is thrown away *with its answer kept*, so that rejection
cannot unbalance the answers.
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


class Definition(NamedTuple):
    """``operation`` of two arguments, or a constant.

    An argument from 0 on is the number of another definition, ``-1 - v`` is the literal v. A constant has
    its value as the literal ``a``, and -1 as ``b``.
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
        definitions: one a variable.
        values: theirs, in 0..modulus-1.
        target: the variable that is asked for.
        needed: definitions 0..needed-1 are ancestors of the target or the target itself.
        operations: how many of the needed ones are no constants.
        hanging: distractors that build on needed ones.
        disconnected: distractors that do not.
    """

    definitions: list[Definition]
    values: list[int]
    target: int
    needed: int
    operations: int
    hanging: int
    disconnected: int


class Shape(NamedTuple):
    """What a DAG is to look like.

    Args:
        operations: needed operations, exactly.
        leaves: needed constants, at most.
        hanging: distractors on needed variables, exactly.
        disconnected: distractors apart from them, exactly.
        reuse: probability that a free operand names a variable already used (else a leaf or a literal).
        modulus: a prime.
    """

    operations: int
    leaves: int
    hanging: int
    disconnected: int
    reuse: float
    modulus: int


def draw(shape: Shape, answer: int, dice: Dice, accept: Callable[[str], bool]) -> Dag:
    """A DAG of this shape whose target has this value and depends on every leaf.

    Args:
        shape: what it looks like.
        answer: value of the target.
        dice: where it is drawn from.
        accept: whether the :func:`canonical` form is wanted; asked before the costlier test of the leaves.
    """
    while True:
        draft = _Draft(shape, dice)
        built = draft.needed(answer) and accept(canonical(draft.definitions))
        if built and _depends_on_all(draft.definitions, draft.values, shape.modulus):
            break
    needed = len(draft.definitions)
    draft.distract(needed)
    return Dag(
        draft.definitions, draft.values, needed - 1, needed, shape.operations, shape.hanging, shape.disconnected
    )


def apply(operation: int, a: int, b: int, modulus: int) -> int:
    """The value of an operation."""
    return (a + b if operation == PLUS else a - b if operation == MINUS else a * b) % modulus


def canonical(needed: Sequence[Definition]) -> str:
    """The last of the needed definitions, unfolded.

    Invariant to names, statement order, distractors, order of commuting arguments and sharing: equal problems
    have equal forms (some different ones too, which only makes splits stricter).
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
    """A DAG in the making."""

    def __init__(self, shape: Shape, dice: Dice) -> None:
        self.shape, self.dice = shape, dice
        self.definitions: list[Definition] = []
        self.values: list[int] = []
        self.leaves: list[int] = []

    def needed(self, answer: int) -> bool:
        """Build the needed part; False where the last operation could not be made to give the answer."""
        shape, dice = self.shape, self.dice
        pending: list[int] = []
        for left in range(shape.operations - 1, -1, -1):
            value = dice.below(shape.modulus) if left else answer
            # Every operation must be used later, and each later one takes at most two: that bounds how
            # many may still wait after this one.
            low, high = max(0, len(pending) - left), min(2, len(pending))
            take = 1 if low <= 1 <= high and dice.uniform() < _CONSUME_ONE else low + dice.below(high - low + 1)
            taken = [pending.pop(dice.below(len(pending))) for _ in range(take)]
            if not self._operation(taken, value, forced=left == 0):
                return False
            pending.append(len(self.definitions) - 1)
        return True

    def _operation(self, taken: list[int], value: int, *, forced: bool) -> bool:
        dice = self.dice
        if len(taken) == 2:
            return self._of_two(taken[0], taken[1], value, forced=forced)
        first = taken[0] if taken else self._leaf(dice.below(self.shape.modulus))
        if dice.uniform() < _LITERAL:
            self._solve(first, value, as_leaf=False)
            return True
        others = [i for i in range(len(self.definitions)) if i != first]
        if others and dice.uniform() < self.shape.reuse and self._of_two(first, dice.pick(others), value):
            return True
        self._solve(first, value, as_leaf=len(self.leaves) < self.shape.leaves)
        return True

    def _leaf(self, value: int) -> int:
        if len(self.leaves) >= self.shape.leaves:
            return self.dice.pick(self.leaves)
        self.definitions.append(Definition(CONSTANT, -1 - value, -1))
        self.values.append(value)
        self.leaves.append(len(self.definitions) - 1)
        return self.leaves[-1]

    def _of_two(self, a: int, b: int, value: int, *, forced: bool = True) -> bool:
        """An operation on two variables; False where it is forced to give the value and none does."""
        dice = self.dice
        if dice.uniform() < 0.5:
            a, b = b, a
        x, y, p = self.values[a], self.values[b], self.shape.modulus
        fitting = [op for op in (PLUS, MINUS, TIMES) if apply(op, x, y, p) == value]
        if forced and not fitting:
            return False
        op = dice.pick(fitting) if fitting else dice.below(3)
        self.definitions.append(Definition(op, a, b))
        self.values.append(apply(op, x, y, p))
        return True

    def _solve(self, known: int, value: int, *, as_leaf: bool) -> None:
        """An operation on a variable and a literal (or a new leaf) that gives the value."""
        dice, p, x = self.dice, self.shape.modulus, self.values[known]
        op = dice.below(3 if x else 2)
        known_first = dice.uniform() < 0.5
        if op == PLUS:
            y = (value - x) % p
        elif op == MINUS:
            y = (x - value if known_first else value + x) % p
        else:
            y = value * pow(x, -1, p) % p
        other = self._leaf(y) if as_leaf else -1 - y
        self.definitions.append(Definition(op, known, other) if known_first else Definition(op, other, known))
        self.values.append(value)

    def distract(self, needed: int) -> None:
        """Add the definitions that are not needed."""
        dice, p = self.dice, self.shape.modulus
        for _ in range(self.shape.hanging):
            # Not on the target itself: a distractor must be computable before the end to distract.
            base = dice.below(needed - 1)
            others = [i for i in range(needed - 1) if i != base]
            if others and dice.uniform() >= _LITERAL:
                self._of_two(base, dice.pick(others), dice.below(p), forced=False)
            else:
                self._solve(base, dice.below(p), as_leaf=False)
        apart = len(self.definitions)
        for _ in range(self.shape.disconnected):
            if len(self.definitions) > apart and dice.uniform() < 0.5:
                known = apart + dice.below(len(self.definitions) - apart)
                self._solve(known, dice.below(p), as_leaf=False)
            else:
                value = dice.below(p)
                self.definitions.append(Definition(CONSTANT, -1 - value, -1))
                self.values.append(value)


def _depends_on_all(definitions: list[Definition], values: list[int], modulus: int) -> bool:
    return all(
        any(_changed(definitions, values, leaf, other, modulus) for other in range(modulus) if other != value)
        for leaf, value in enumerate(values)
        if definitions[leaf].operation == CONSTANT
    )


def _changed(definitions: list[Definition], values: list[int], leaf: int, other: int, modulus: int) -> bool:
    """Whether the last value is another one when a leaf is ``other``."""
    now: list[int] = []
    for i, (operation, a, b) in enumerate(definitions):
        if operation == CONSTANT:
            now.append(other if i == leaf else values[i])
        else:
            x = now[a] if a >= 0 else -1 - a
            y = now[b] if b >= 0 else -1 - b
            now.append((x + y if operation == PLUS else x - y if operation == MINUS else x * y) % modulus)
    return now[-1] != values[-1]
