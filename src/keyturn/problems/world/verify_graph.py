"""The verifier of GRAPH: reads a trace step by step and judges it against the prompt.

*verified* means: the outcome is right, the text ended by itself, the declared strategy is FWD, BWD, SCAN, CHK
or RET (DIR and FILL show no reasoning and WRNG declares wrong values, so they have an outcome but are never
verified), every needed variable is present with its definition copied, its operands fetched and its value
right, and no token outside planning is wrong. Correct steps that were not needed, or were written twice, are
ignored: they are planning errors, which reduce efficiency and not validity. A goal list (BWD) must list all
needed variables, each after every needed variable that uses it. Steps that the text itself retracts (RET: a
variable that was begun; CHK: a step whose check failed) have the role WRONG and do not count; a false check is
an error.

A planning choice is right if the variable can be computed, was not computed yet, and (except in SCAN) is
needed. Look-ups are judged by the completion's own earlier values, results by its own look-ups, so an error
counts once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from keyturn.core.roles import Role
from keyturn.problems.world.grammar import GRAMMARS, Grammar, right_tokens
from keyturn.problems.world.graph_task import GraphTask, Written, combine, is_noun, is_operation
from keyturn.problems.world.reading import LAST_VALUE, Reading, answer_of, last_value, word
from keyturn.problems.world.vocabulary import (
    ANS,
    BACK,
    END,
    EOS,
    FILLER,
    FORMATS,
    ID,
    NEED,
    OK,
    STRATEGIES,
    VALUE,
    VERIFY,
)

_S, _AR, _GS, _PL, _ND, _CP, _LK, _XC = map(
    int,
    (Role.SYNTAX, Role.REPEAT, Role.STRATEGY, Role.PLAN, Role.GOAL, Role.COPY, Role.LOOKUP, Role.ARITHMETIC),
)
_BK, _WR, _VF, _AN, _INVALID = map(int, (Role.BACKTRACK, Role.WRONG, Role.VERIFY, Role.ANSWER, Role.INVALID))
_VALID = frozenset({"FWD", "BWD", "SCAN", "CHK", "RET"})
_STRATEGY_OF = {ID[name]: name for name in STRATEGIES}
_FORMAT_OF = {ID[name]: name for name in FORMATS}


class _Lost(Exception):
    """The grammar does not allow this token here, or the text has ended."""


class _Standing(NamedTuple):
    """A step that was written and not retracted."""

    clean: bool
    """Whether everything after the choice of the variable is right."""
    value: int
    recomputed: int
    begin: int


def read_graph_completion(task: GraphTask, ids: list[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`keyturn.problems.world.graph_task.read_graph_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    reader = _Reader(task, ids)
    finished = reader.read()
    roles, errors = reader.roles, reader.errors
    gold = VALUE + task.values[task.target]
    answer = answer_of(ids)
    planned = executed = plan_errors = exec_errors = other_errors = 0
    for role, error in zip(roles, errors, strict=True):
        if role in (_PL, _ND):
            planned += 1
            plan_errors += error
            other_errors += error and role == _ND
        else:
            other_errors += error
            if _CP <= role <= _XC:
                executed += 1
                exec_errors += error
    standing = reader.standing
    right = sum(
        name in standing and standing[name].clean and standing[name].value == task.values[name]
        for name in task.needed
    )
    first = errors.index(True) if True in errors else -1
    outcome = answer == gold
    valid = finished and reader.strategy in _VALID and right == len(task.needed) and not other_errors
    return Reading(
        outcome=outcome,
        verified=outcome and valid and ended,
        answer=word(answer),
        lenient=last_value(ids) == gold,
        strategy=reader.strategy,
        format=reader.format,
        plan_score=1 - plan_errors / planned if planned else math.nan,
        exec_score=1 - exec_errors / executed if executed else math.nan,
        process=right / len(task.needed),
        efficiency=min(1.0, len(task.needed) / reader.made) if reader.made else math.nan,
        first_error=first,
        first_error_role=roles[first] if first >= 0 else 0,
        roles=roles,
        errors=errors,
        choices=reader.choices,
        floors=[math.log(n) if n > 1 else 0.0 for n in reader.choices]
        if task.free and reader.strategy != "BWD"
        else _goal_floors(task, reader),
    )


def _goal_floors(task: GraphTask, reader: _Reader) -> list[float]:
    """Floors if the canonical order, or in BWD the goal list, determines the steps."""
    if not task.free:
        return [0.0] * len(reader.roles)
    pairs = zip(reader.roles, reader.choices, strict=True)
    return [math.log(n) if role == _ND and n > 1 else 0.0 for role, n in pairs]


class _Reader:
    """A pass over one completion. ``roles``, ``errors`` and ``choices`` grow with the position."""

    def __init__(self, task: GraphTask, ids: list[int]) -> None:
        self.task, self.ids, self.size = task, ids, len(ids)
        self.at = 0
        self.roles: list[int] = []
        self.errors: list[bool] = []
        self.choices: list[int] = []
        self.strategy = self.format = ""
        self.standing: dict[int, _Standing] = {}
        self.made = 0

    def read(self) -> bool:
        """Read the whole text; True if the grammar allowed it up to the end of the answer."""
        finished = False
        try:
            self._head()
            if self.format:
                self._steps()
            self._answer()
            finished = self.at == self.size
        except _Lost:
            pass
        lost = self.size - self.at
        if lost:
            self.roles += [_INVALID] * lost
            self.errors += [True] + [False] * (lost - 1)
            self.choices += [0] * lost
        return finished

    def _take(self, role: int, *, error: bool = False, choices: int = 0) -> int:
        self.roles.append(role)
        self.errors.append(error)
        self.choices.append(choices)
        self.at += 1
        return self.ids[self.at - 1]

    def _look(self) -> int:
        """The next token, which stays unread.

        Raises:
            _Lost: the text has ended.
        """
        if self.at >= self.size:
            raise _Lost
        return self.ids[self.at]

    def _expect(self, *tokens: int) -> None:
        for token in tokens:
            if self._look() != token:
                raise _Lost
            self._take(_S)

    def _value(self) -> int:
        """The next value, which stays unread."""
        if not VALUE <= self._look() <= LAST_VALUE:
            raise _Lost
        return self.ids[self.at] - VALUE

    def _noun(self) -> int:
        if not is_noun(self._look()):
            raise _Lost
        return self.ids[self.at]

    def _head(self) -> None:
        if self._look() not in _STRATEGY_OF:
            raise _Lost
        self.strategy = _STRATEGY_OF[self._take(_GS)]
        if self.strategy == "FILL":
            while self._look() == FILLER:
                self._take(_S)
        elif self.strategy != "DIR":
            if self._look() not in _FORMAT_OF:
                raise _Lost
            self.format = _FORMAT_OF[self._take(_GS)]
            if self.strategy == "BWD":
                self._goals()

    def _goals(self) -> None:
        task = self.task
        self._expect(NEED)
        listed: set[int] = set()
        while self._look() != END:
            name = self._noun()
            valid = [n for n in task.needed if n not in listed and task.users[n] <= listed]
            self._take(_ND, error=name not in valid, choices=len(valid))
            listed.add(name)
        self._take(_S, error=not listed.issuperset(task.needed))

    def _steps(self) -> None:
        while self._look() != ANS:
            if self.strategy == "CHK" and self.ids[self.at] == VERIFY:
                self._check()
            elif not self._right_step():
                self._step(GRAMMARS[self.format])

    def _ready(self) -> list[int]:
        """Variables that are right to compute next."""
        task, standing = self.task, self.standing
        among = task.definitions if self.strategy == "SCAN" else task.needed
        return [n for n in among if n not in standing and task.parents[n] <= standing.keys()]

    def _right_step(self) -> bool:
        """Read a whole step at once if it is, token by token, the right one, as most steps are."""
        at = self.at + len(GRAMMARS[self.format].opening)
        name = self.ids[at] if at < self.size else -1
        task = self.task
        if name not in task.definitions:
            return False
        for parent in task.parents[name]:
            if parent not in self.standing or self.standing[parent].value != task.values[parent]:
                return False
        key = (self.format, name)
        if key not in task.right_steps:
            task.right_steps[key] = right_tokens(task, self.format, name)
        tokens, roles = task.right_steps[key]
        size = len(tokens)
        if self.ids[self.at : self.at + size] != tokens:
            return False
        ready = self._ready()
        begin = self.at
        self.roles += roles
        self.errors += [False] * size
        self.choices += [0] * size
        self.errors[at] = name not in ready
        self.choices[at] = len(ready)
        self.at += size
        self.made += 1
        value = task.values[name]
        self.standing[name] = _Standing(True, value, value, begin)
        return True

    def _step(self, grammar: Grammar) -> None:
        """Read any other step, token by token."""
        begin = self.at
        self._expect(*grammar.opening)
        name, ready = self._noun(), self._ready()
        self._take(_PL, error=name not in ready, choices=len(ready))
        if self.strategy == "RET" and self._look() == BACK:
            self.made += 1
            self.roles[-1], self.errors[-1], self.choices[-1] = _WR, False, 0
            self._take(_BK)
            self._expect(grammar.ends)
            return
        self._expect(grammar.defines)
        planned = self.at
        written = self._definition(grammar, self.task.definitions.get(name, ()))
        fetched = self._fetch(grammar, written)
        self._expect(grammar.concludes)
        if grammar.named:
            self._take(_AR, error=self._noun() != name)
        self._expect(*grammar.equals)
        if len(written) == 1:
            right = fetched[0]
        else:
            right = combine(written[1], fetched[0], fetched[1], self.task.modulus)
        value = self._value()
        self._take(_LK if len(written) == 1 else _XC, error=value != right)
        self._expect(grammar.ends)
        self.made += 1
        self.standing[name] = _Standing(True not in self.errors[planned:], value, right, begin)

    def _definition(self, grammar: Grammar, gold: Written) -> Written:
        """The definition as written; ``gold`` is the prompt's."""
        order: tuple[int, ...]
        if grammar.prefix:
            order = (1, 0, 2) if is_operation(self._look()) else (0,)
        elif self.at + 1 >= self.size:
            # Cut after the first argument: it may have been incomplete, so this is not an error.
            order = (0, 1, 2) if len(gold) != 1 else (0,)
        else:
            order = (0, 1, 2) if is_operation(self.ids[self.at + 1]) else (0,)
        written = [0] * len(order)
        for place in order:
            token = self._look()
            fits = is_operation(token) if place == 1 else is_noun(token) or VALUE <= token <= LAST_VALUE
            if not fits:
                raise _Lost
            wrong = len(order) != len(gold) or token != gold[place]
            written[place] = self._take(_CP, error=wrong)
        self._expect(*grammar.closes)
        return tuple(written)

    def _fetch(self, grammar: Grammar, written: Written) -> list[int]:
        """Values of the arguments as the text states them, judged by its own earlier values."""
        standing = self.standing
        fetched: list[int] = []
        opener = grammar.first
        for token in written[::2]:
            own = token - VALUE if not is_noun(token) else standing[token].value if token in standing else -1
            silent = len(written) == 1 or (grammar.named and not is_noun(token))
            if silent:
                fetched.append(own)
                continue
            self._expect(*opener)
            opener = grammar.next
            if grammar.named:
                self._take(_AR, error=self._noun() != token)
                self._expect(*grammar.relates)
            fetched.append(self._value())
            self._take(_LK, error=fetched[-1] != own)
        return fetched

    def _check(self) -> None:
        self._take(_VF)
        name = self._noun()
        step = self.standing.get(name)
        self._take(_VF, error=step is None)
        value = self._value()
        self._take(_VF, error=step is None or value != step.recomputed)
        token = self._look()
        if token not in (OK, BACK):
            raise _Lost
        agrees = step is not None and value == step.value
        begin, end = (step.begin, self.at - 3) if step else (0, 0)
        self._take(_VF if token == OK else _BK, error=agrees != (token == OK))
        self._expect(END)
        if token == BACK and step is not None:
            # Only the step directly before its check is one range of tokens; of an older one only the entry is
            # removed.
            if not any(other.begin > begin for other in self.standing.values()):
                self.roles[begin:end] = [_WR] * (end - begin)
                self.errors[begin:end] = [False] * (end - begin)
                self.choices[begin:end] = [0] * (end - begin)
            del self.standing[name]

    def _answer(self) -> None:
        task = self.task
        if self._look() != ANS:
            raise _Lost
        own = self.standing.get(task.target)
        self._take(_S, error=bool(self.format) and own is None)
        value = self._value()
        told = task.values[task.target] if not self.format else own.value if own else -1
        self._take(_AN, error=value != told)
        if self.at < self.size and self.ids[self.at] == EOS:
            self._take(_S)
