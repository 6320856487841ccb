"""A construction in the making, token by token: which operands and operations keep the target within reach.

Both the generator, which takes one of them at random, and the verifier, which asks whether the one that was
written is among them, stand on this. A test counts the same sets by listing whole constructions.
"""

from __future__ import annotations

from collections import Counter

from keyturn.problems.world.create_forms import OPERATIONS, State, after, calculate, joined, reachable
from keyturn.problems.world.vocabulary import PLUS, VALUE


class Build:
    """The numbers not yet used and the results not yet used.

    Args:
        numbers: given.
        operations: to be made in all.
        target: to be reached.
        modulus: of the arithmetic.
    """

    def __init__(self, numbers: tuple[int, ...], operations: int, target: int, modulus: int) -> None:
        self.left = Counter(numbers)
        self.values: dict[int, int] = {}
        """Name -> value of a result that was not yet used."""
        self.forms: dict[int, str] = {}
        self.operations = operations
        self._target = target
        self._modulus = modulus

    def operands(self) -> list[int]:
        """Tokens that can be an operand at all: numbers left, then names of results not yet used."""
        return [VALUE + number for number in sorted(self.left) if self.left[number]] + list(self.values)

    def value_of(self, token: int) -> int:
        """What an operand stands for."""
        return self.values[token] if token in self.values else token - VALUE

    def right_first(self) -> list[int]:
        """First operands after which the target can still be reached."""
        return [a for a in self.operands() if self.right_operations(a)]

    def right_operations(self, a: int) -> list[int]:
        """The same for operations, after the operand ``a``."""
        return [PLUS + i for i in range(len(OPERATIONS)) if self.right_second(a, PLUS + i)]

    def right_second(self, a: int, operation: int) -> list[int]:
        """The same for second operands."""
        return [b for b in self.operands() if self._leads(a, operation, b)]

    def join(self, name: int, a: int, operation: int, b: int, value: int) -> None:
        """Use two operands up; ``name`` stands for ``value`` from here on."""
        sign = OPERATIONS[operation - PLUS]
        form = joined(sign, *(self.forms.pop(token, str(token - VALUE)) for token in (a, b)))
        for token in (a, b):
            if token in self.values:
                del self.values[token]
            else:
                self.left[token - VALUE] -= 1
        self.values[name] = value
        self.forms[name] = form
        self.operations -= 1

    def can_join(self, a: int, b: int) -> bool:
        """Whether both are there, twice where they are the same."""
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

    def _leads(self, a: int, operation: int, b: int) -> bool:
        if self.operations < 1 or not self.can_join(a, b):
            return False
        x, y = self.value_of(a), self.value_of(b)
        value = calculate(OPERATIONS[operation - PLUS], x, y, self._modulus)
        following = after(self._state(), (x, a in self.values), (y, b in self.values), value)
        return reachable(following, self._target, self._modulus)
