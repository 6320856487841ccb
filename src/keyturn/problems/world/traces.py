"""Strategies: the same arithmetic written in eight ways, every token with its role.

    FWD   needed variables only, each once its operands are known
    BWD   ``NEED`` and the needed variables from the target back, then computed in reverse of that list
    SCAN  everything that can be computed, until the target is
    DIR   the answer alone
    CHK   FWD, every operation followed by ``VF v r OK``, or, if it was wrong, by ``VF v r BK`` and a new try
    RET   FWD with steps that are begun on a wrong variable and retracted at once
    FILL  filler of the length of FWD, and the answer
    WRNG  FWD with wrong results, which later steps use consistently

The first token names the strategy, the second the format (DIR and FILL have none). *canonical* order takes
the first listed of the valid choices, *free* order any of them. The valid choices of every planning token are
recorded: another choice is an error, and a choice among them is diversity.
"""

from __future__ import annotations

from typing import NamedTuple

from keyturn.core.roles import Role
from keyturn.problems.world.dag import CONSTANT, Dag, apply
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.formats import NAME_AT, Step, write, write_retracted
from keyturn.problems.world.vocabulary import ANS, BACK, END, EOS, FILLER, ID, NEED, OK, PLUS, VALUE, VERIFY

_S, _STRATEGY, _GOAL, _PLAN, _VERIFY, _BACK, _WRONG, _ANSWER = (
    int(role)
    for role in (
        Role.SYNTAX,
        Role.STRATEGY,
        Role.GOAL,
        Role.PLAN,
        Role.VERIFY,
        Role.BACKTRACK,
        Role.WRONG,
        Role.ANSWER,
    )
)


class Manner(NamedTuple):
    """The settings of a trace.

    Args:
        strategy: one of the eight.
        format: ``F1`` to ``F3``.
        free: whether any valid order is used instead of the canonical one.
        noise: probability that an operation's result is wrong (in CHK: is wrong at first).
        retry: probability that RET begins a wrong variable before a step.
        wrong: probability that WRNG gets an operation wrong; at least one always is.
    """

    strategy: str
    format: str
    free: bool
    noise: float
    retry: float
    wrong: float


class Trace(NamedTuple):
    """Token ids with ``EOS``, their roles, and the valid choices at planning positions."""

    ids: list[int]
    roles: list[int]
    choices: dict[int, tuple[int, ...]]


class Told(NamedTuple):
    """A DAG with names and an order of statements.

    Args:
        dag: the arithmetic.
        names: token id of each definition's name.
        listed: numbers of the definitions in statement order.
        modulus: modulus of the arithmetic.
    """

    dag: Dag
    names: list[int]
    listed: list[int]
    modulus: int


def write_trace(told: Told, manner: Manner, dice: Dice) -> Trace:
    """One trace of a problem."""
    return _Writer(told, manner, dice).trace()


class _Writer:
    def __init__(self, told: Told, manner: Manner, dice: Dice) -> None:
        self.told, self.manner, self.dice = told, manner, dice
        self.values: dict[int, int] = {}
        self.ids: list[int] = [ID[manner.strategy]]
        self.roles: list[int] = [_STRATEGY]
        self.choices: dict[int, tuple[int, ...]] = {}

    def trace(self) -> Trace:
        strategy, dag = self.manner.strategy, self.told.dag
        answer = dag.values[dag.target]
        if strategy == "FILL":
            forward = _Writer(self.told, self.manner._replace(strategy="FWD", noise=0.0), self.dice).trace()
            length = len(forward.ids) - 4
            self.ids += [FILLER] * length
            self.roles += [_S] * length
        elif strategy != "DIR":
            self.ids.append(ID[self.manner.format])
            self.roles.append(_STRATEGY)
            answer = self._steps(strategy)
        self.ids += (ANS, VALUE + answer, EOS)
        self.roles += (_S, _ANSWER, _S)
        return Trace(self.ids, self.roles, self.choices)

    def _steps(self, strategy: str) -> int:
        dag, free = self.told.dag, self.manner.free
        reverse = self._goals() if strategy == "BWD" else None
        wanted = None if strategy == "SCAN" else dag.needed
        wrong = self._chosen_wrong() if strategy == "WRNG" else frozenset()
        while dag.target not in self.values:
            ready = self._ready(wanted)
            if reverse is not None:
                number = reverse.pop()
            else:
                number = self.dice.pick(ready) if free else ready[0]
            if strategy == "RET" and self.dice.uniform() < self.manner.retry:
                self._retract(ready)
            noisy = number in wrong or (self.manner.noise > 0 and self.dice.uniform() < self.manner.noise)
            self._step(number, ready, noisy=noisy)
            if strategy == "CHK" and dag.definitions[number].operation != CONSTANT:
                self._check(number, ready)
        return self.values[dag.target]

    def _ready(self, wanted: int | None) -> list[int]:
        """Definitions that can be computed next, as listed; only among the first ``wanted`` if it is given."""
        values, definitions = self.values, self.told.dag.definitions
        found = []
        for i in self.told.listed:
            if i in values or (wanted is not None and i >= wanted):
                continue
            _, a, b = definitions[i]
            if (a < 0 or a in values) and (b < 0 or b in values):
                found.append(i)
        return found

    def _goals(self) -> list[int]:
        """Write the goal list; a variable may be listed after all needed variables that use it."""
        dag, names = self.told.dag, self.told.names
        users = [0] * dag.needed
        for definition in dag.definitions[: dag.needed]:
            for parent in set(definition.parents):
                users[parent] += 1
        self.ids.append(NEED)
        self.roles.append(_S)
        goals: list[int] = []
        while len(goals) < dag.needed:
            valid = [i for i in self.told.listed if i < dag.needed and not users[i] and i not in goals]
            number = self.dice.pick(valid) if self.manner.free else valid[0]
            self.choices[len(self.ids)] = tuple(names[i] for i in valid)
            self.ids.append(names[number])
            self.roles.append(_GOAL)
            goals.append(number)
            for parent in set(dag.definitions[number].parents):
                users[parent] -= 1
        self.ids.append(END)
        self.roles.append(_S)
        return goals

    def _chosen_wrong(self) -> frozenset[int]:
        """The operations that WRNG gets wrong, at least one."""
        dag, dice = self.told.dag, self.dice
        operations = [i for i in range(dag.needed) if dag.definitions[i].operation != CONSTANT]
        chosen = {i for i in operations if dice.uniform() < self.manner.wrong}
        return frozenset(chosen or {dice.pick(operations)})

    def _step(self, number: int, ready: list[int], *, noisy: bool = False) -> None:
        told, names, values = self.told, self.told.names, self.values
        operation, a, b = told.dag.definitions[number]
        if operation == CONSTANT:
            value = -1 - a
            step = Step(names[number], -1, (VALUE + value,), (value,), (False,), value)
        else:
            x, y = values[a] if a >= 0 else -1 - a, values[b] if b >= 0 else -1 - b
            value = apply(operation, x, y, told.modulus)
            if noisy:
                value = (value + 1 + self.dice.below(told.modulus - 1)) % told.modulus
            args = (names[a] if a >= 0 else VALUE - 1 - a, names[b] if b >= 0 else VALUE - 1 - b)
            step = Step(names[number], PLUS + operation, args, (x, y), (a >= 0, b >= 0), value)
        self.choices[len(self.ids) + NAME_AT[self.manner.format]] = tuple(names[i] for i in ready)
        write(self.manner.format, step, self.ids, self.roles)
        values[number] = value

    def _check(self, number: int, ready: list[int]) -> None:
        """Check the last operation; a wrong one is marked, retracted and repeated."""
        operation, a, b = self.told.dag.definitions[number]
        x, y = self.values[a] if a >= 0 else -1 - a, self.values[b] if b >= 0 else -1 - b
        right = apply(operation, x, y, self.told.modulus)
        held = right == self.values[number]
        name = self.told.names[number]
        self.ids += (VERIFY, name, VALUE + right, OK if held else BACK, END)
        self.roles += (_VERIFY, _VERIFY, _VERIFY, _VERIFY if held else _BACK, _S)
        if not held:
            self._mark_wrong(len(self.ids) - 5)
            del self.values[number]
            self._step(number, ready)
            self.ids += (VERIFY, name, VALUE + right, OK, END)
            self.roles += (_VERIFY, _VERIFY, _VERIFY, _VERIFY, _S)

    def _mark_wrong(self, end: int) -> None:
        """Mark all tokens of the retracted step that ends before ``end`` as WRONG."""
        begin = max(at for at in self.choices if at < end) - NAME_AT[self.manner.format]
        del self.choices[begin + NAME_AT[self.manner.format]]
        self.roles[begin:end] = [_WRONG] * (end - begin)

    def _retract(self, ready: list[int]) -> None:
        """Begin a variable that is not a valid choice, if there is one, and retract it."""
        wrong = [i for i in range(len(self.told.names)) if i not in ready]
        if wrong:
            write_retracted(self.manner.format, self.told.names[self.dice.pick(wrong)], self.ids, self.roles)
