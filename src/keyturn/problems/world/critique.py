"""Critiques of known correctness: the verifier's verdict on a completion, in the world's own words.

The completion is read statement by statement (a statement ends with ``;`` or ``.``; the answer is the last).
Every statement up to the first wrong one is checked. If something was wrong, the solution follows. The verdict
comes last::

    VF plum 0 OK ; VF lime 3 BK ; FWD F1 DO fig = 2 ; ... ANS 3 BK EOS        lime was wrong, its value is 3
    VF plum 0 OK ; VF lime 3 OK ; VF ANS 3 OK ; ANS 3 OK EOS                  nothing was wrong

A check names what the statement decides (its planning token, else its first copied one, else the name before
its result, else its first word) and its result. If the result is wrong, the check gives the right one (from the
statement of a demonstration that decides the same). ``stripped`` leaves out every right value that the
completion lacked, so only checks and verdict remain. A deliberately wrong critique approves the first error, or
finds one in a right step, and gives other values for the solution.
Degenerate: of a completion without a readable statement only the answer is checked.
Known bias: only the first error is named, as by a teacher who stops there.
Source: ours. Wang et al. 2025 (2506.03295, prompts) ask teachers for this content: check the steps, correct
them and give the answer, end with right or wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keyturn.core.problem import Problem
from keyturn.core.roles import Role
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import World
from keyturn.problems.world.demonstrations import demonstrate
from keyturn.problems.world.reading import LAST_VALUE, Reading
from keyturn.problems.world.verify import read_completion, read_prompt
from keyturn.problems.world.vocabulary import (
    ANS,
    BACK,
    CONTROLS,
    END,
    EOS,
    ID,
    OK,
    QUERY,
    VALUE,
    VERIFY,
    decode,
    encode,
)

MARKER = CONTROLS[3]
"""The control word that asks for a critique: ``prompt completion CTL3`` is what a critique follows."""

_DOT = ID["."]
_DECIDES = (Role.PLAN, Role.GOAL, Role.COPY)
_TOLD = frozenset({Role.ARITHMETIC, Role.ANSWER, Role.LOOKUP})


class Statement(NamedTuple):
    """One statement of a completion: what it decides, its final value (-1 for none), whether it is wrong."""

    key: int
    value: int
    wrong: bool


class Check(NamedTuple):
    """One check: the token that it names, the right value (-1 if unknown), whether it approves."""

    key: int
    value: int
    approved: bool


class Critique(NamedTuple):
    """A critique of one completion.

    Args:
        checks: checks of the statements up to the first wrong one.
        solution: token ids of the whole right solution (or of one with wrong values), without ``EOS``.
        answer: token ids of the answer alone.
        approves: its verdict.
        right: whether it is a correct critique.
    """

    checks: tuple[Check, ...]
    solution: tuple[int, ...]
    answer: tuple[int, ...]
    approves: bool
    right: bool

    def text(self, *, stripped: bool = False) -> str:
        """Its words, without ``EOS``.

        Args:
            stripped: leave out the solution and the value of a check that disapproves.
        """
        ids: list[int] = []
        for key, value, approved in self.checks:
            shown = [value] if value >= 0 and (approved or not stripped) else []
            ids += [VERIFY, key, *shown, OK if approved else BACK, END]
        if not stripped:
            ids += self.answer if self.approves else self.solution
        return decode([*ids, OK if self.approves else BACK])


def critique(
    world: World, problem: Problem, completion: str, streams: Streams, *, ended: bool = True, right: bool = True
) -> Critique:
    """The verifier's critique of a completion.

    Args:
        world: the problem's world.
        problem: the problem.
        completion: its words, with or without ``EOS``.
        streams: randomness for free choices of the demonstration and for errors of a wrong critique.
        ended: whether the text ended by itself.
        right: False makes a wrong critique.
    """
    ids = [i for i in encode(completion) if i != EOS]
    reading = read_completion(read_prompt(world, encode(problem.prompt)), ids, ended=ended)
    gold = demonstrate(world, problem, streams)
    solution = tuple(i for i in gold.completion if i != EOS)
    truth = statements(list(solution), [int(role) for role in gold.roles], [False] * len(solution))
    checks = _checks(statements(ids, reading.roles, reading.errors), truth, reading)
    told = Critique(checks, solution, _answer(solution), reading.verified, True)
    return told if right else _turned(told, gold.roles, streams.generator("wrong critique", problem.id))


def statements(ids: list[int], roles: list[int], errors: list[bool]) -> tuple[Statement, ...]:
    """A completion cut at its statement ends; the text after the last one is a statement too."""
    found: list[Statement] = []
    begin = 0
    for at, token in enumerate(ids):
        last = at + 1 == len(ids)
        if token in (END, _DOT) or last:
            inside = range(begin, at + 1)
            named = [ids[i] for i in inside if roles[i] == Role.REPEAT][-1:] or [ids[begin]]
            key = next((ids[i] for role in _DECIDES for i in inside if roles[i] == role), named[0])
            values = [ids[i] for i in inside if roles[i] in _TOLD and VALUE <= ids[i] <= LAST_VALUE]
            wrong = any(errors[i] for i in inside)
            # Special tokens and control words are not names: a statement that opens with one is named "?".
            found.append(Statement(key if key >= VALUE else QUERY, values[-1] if values else -1, wrong))
            begin = at + 1
    return tuple(found)


def _checks(
    written: tuple[Statement, ...], truth: tuple[Statement, ...], reading: Reading
) -> tuple[Check, ...]:
    out: list[Check] = []
    for place, (key, value, wrong) in enumerate(written):
        if wrong:
            return (*out, Check(key, _should(place, key, truth), False))
        out.append(Check(key, value, True))
    if not reading.verified:
        # Nothing in it is wrong, but it is not a complete solution: it was cut, or it is an answer without a
        # trace.
        out.append(Check(ANS, truth[-1].value, False))
    return tuple(out)


def _should(place: int, key: int, truth: tuple[Statement, ...]) -> int:
    """The value of the statement that decides the same: at the same place, else the first; -1 if there is
    none."""
    if place < len(truth) and truth[place].key == key and truth[place].value >= 0:
        return truth[place].value
    return next((one.value for one in truth if one.key == key and one.value >= 0), -1)


def _turned(told: Critique, roles: tuple[int, ...], generator: np.random.Generator) -> Critique:
    """The opposite of a right critique: it finds an error where none is, or misses the one that is there."""
    seen = sorted({i for i in told.solution if VALUE <= i <= LAST_VALUE}) or [VALUE]
    spare = [*seen, VALUE + (seen[-1] - VALUE + 1) % 11]

    def other(token: int) -> int:
        return int(generator.choice([value for value in spare if value != token]))

    # A critique that finds an error stops there; one that misses it has approved everything before it.
    which = int(generator.integers(len(told.checks))) if told.approves else len(told.checks) - 1
    key, value, approved = told.checks[which]
    checks = (*told.checks[:which], Check(key, other(value) if value >= 0 else value, not approved))
    solution = tuple(
        other(token) if role in _TOLD and VALUE <= token <= LAST_VALUE else token
        for token, role in zip(told.solution, roles, strict=False)
    )
    return Critique(checks, solution, _answer(solution), not told.approves, False)


def _answer(solution: tuple[int, ...]) -> tuple[int, ...]:
    """The end of a solution, from its last ``ANS`` on; all of it if there is none."""
    places = [at for at, token in enumerate(solution) if token == ANS]
    return solution[places[-1] :] if places else solution
