"""A partial construction, token by token: the operands and operations that keep the target reachable.

The generator chooses one of them at random, and the verifier checks whether a written one is among them. A test
computes the same sets by listing whole constructions.
"""

from __future__ import annotations

from collections import Counter
from itertools import product

from keyturn.problems.world.create_forms import OPERATIONS, State, after, calculate, joined, reachable
from keyturn.problems.world.vocabulary import PLUS, VALUE


class Build:
    """The numbers and results that are not yet used.

    Args:
        numbers: the given numbers.
        operations: number of operations in all.
        target: the value to reach.
        modulus: modulus of the arithmetic.
    """

    def __init__(self, numbers: tuple[int, ...], operations: int, target: int, modulus: int) -> None:
        self.left = Counter(numbers)
        self.values: dict[int, int] = {}
        """Name -> value of a result that is not yet used."""
        self.forms: dict[int, str] = {}
        self.operations = operations
        self._target = target
        self._modulus = modulus
        self._right: dict[int, dict[int, list[int]]] | None = None

    def operands(self) -> list[int]:
        """Tokens that can be an operand: unused numbers, then names of unused results."""
        return [VALUE + number for number in sorted(self.left) if self.left[number]] + list(self.values)

    def value_of(self, token: int) -> int:
        """The value of an operand."""
        return self.values[token] if token in self.values else token - VALUE

    def right_first(self) -> list[int]:
        """First operands after which the target can still be reached."""
        return list(self._steps())

    def right_operations(self, a: int) -> list[int]:
        """Operations after which the target can still be reached, given the operand ``a``."""
        return list(self._steps().get(a, {}))

    def right_second(self, a: int, operation: int) -> list[int]:
        """Second operands after which the target can still be reached."""
        return self._steps().get(a, {}).get(operation, [])

    def join(self, name: int, a: int, operation: int, b: int, value: int) -> None:
        """Use two operands; from here on ``name`` has the value ``value``."""
        sign = OPERATIONS[operation - PLUS]
        form = joined(sign, *(self.forms.pop(token, str(token - VALUE)) for token in (a, b)))
        for token in (a, b):
            if token in self.values:
                del self.values[token]
            else:
                self.left[token - VALUE] -= 1
        self.forms[name] = form
        self.put(name, value)

    def put(self, name: int, value: int) -> None:
        """Give ``name`` a value, as one more operation that uses no operand."""
        self.values[name] = value
        self.operations -= 1
        self._right = None

    def can_join(self, a: int, b: int) -> bool:
        """Whether both operands are available, twice if they are equal."""
        if a == b:
            return a not in self.values and self.left[a - VALUE] > 1
        return all(token in self.values or self.left[token - VALUE] > 0 for token in (a, b))

    @property
    def on_the_way(self) -> bool:
        """Whether the target can still be reached."""
        return reachable(self._state(), self._target, self._modulus)

    def _state(self) -> State:
        left = tuple(sorted(self.left.elements()))
        return State(tuple(sorted(self.values.values())), left, self.operations)

    def _steps(self) -> dict[int, dict[int, list[int]]]:
        """First operand -> operation -> second operands that keep the target within reach."""
        if self._right is not None:
            return self._right
        self._right = {}
        state, operands = self._state(), self.operands() if self.operations > 0 else []
        for a, b in product(operands, operands):
            if not self.can_join(a, b):
                continue
            x, y = (self.value_of(a), a in self.values), (self.value_of(b), b in self.values)
            for i, sign in enumerate(OPERATIONS):
                value = calculate(sign, x[0], y[0], self._modulus)
                if reachable(after(state, x, y, value), self._target, self._modulus):
                    self._right.setdefault(a, {}).setdefault(PLUS + i, []).append(b)
        self._right = {a: {sign: found[sign] for sign in sorted(found)} for a, found in self._right.items()}
        return self._right
