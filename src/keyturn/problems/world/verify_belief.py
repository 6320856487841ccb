"""The verifier of BELIEF: reads prompt and completion tokens, and derives all beliefs from them.

A completion is verified if and only if it is, token by token, the one valid trace with its ``EOS``; an answer
without a trace never is. Within a line, copies are compared with the move whose place the line names. A belief
is judged by the watchers *that the line states* and by the line before: it is the new place if the chain sees
the move, else the chain's earlier belief. ``process``: share of the needed lines that are present with the
right watchers and beliefs. ``trace_f1``: F1 between the beliefs that the text states, each a (place of the
line, chain, believed place), and the true ones; 0 for an answer without a trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.belief_story import BELIEF, HIDDEN, OBJECTS, PEOPLE, PLACES
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.vocabulary import ANS, ARROW, ASK, BOS, DO, END, ID, QUERY, WORDS
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

_FORWARD, _DIRECT = ID["FWD"], ID["DIR"]
_MOVE = 8


class BeliefTask(NamedTuple):
    """What a BELIEF prompt asks."""

    asked: int
    """The object, a token id."""
    chain: tuple[int, ...]
    """The agents whose belief is asked for, token ids; () asks for the place itself."""
    watchers: dict[int, tuple[int, ...]]
    """Place of a move -> its two open watchers and the hidden one, for the moves of every object; a start
    has none."""
    states: tuple[tuple[int, ...], ...]
    """Per line of the trace: its place, then the place that every chain up to the asked one believes in."""


class Line(NamedTuple):
    """A line of a trace, as written."""

    place: int
    watchers: tuple[int, ...]
    beliefs: tuple[int, ...]


def read_belief_prompt(ids: Sequence[int]) -> BeliefTask:
    """The task that a prompt states.

    Raises:
        InputError: the ids are not a BELIEF prompt.
    """
    wrong = InputError("this is not a BELIEF prompt", fix="BOS CTL7, two starts, moves, ASK, names, object, ?")
    if ASK not in ids or tuple(ids[:2]) != (BOS, BELIEF) or ids[-1] != QUERY:
        raise wrong
    at = list(ids).index(ASK)
    body, chain, asked = tuple(ids[2:at]), tuple(ids[at + 1 : -2]), ids[-2]
    moves = [body[i : i + _MOVE] for i in range(6, len(body), _MOVE)]
    starts = {body[0]: body[1], body[3]: body[4]} if len(body) >= 6 else {}
    at_last = dict(starts)
    whole = len(body) >= 6 and body[2] == body[5] == END and all(_is_move(move, at_last) for move in moves)
    places = [*starts.values(), *(move[2] for move in moves)] if whole else []
    if (
        not whole
        or asked not in starts
        or not set(chain) <= set(PEOPLE)
        or len(set(chain)) < len(chain)
        or len(set(places)) < len(places)
        or not set(places) <= set(PLACES)
        or not set(starts) <= set(OBJECTS)
    ):
        raise wrong
    watchers: dict[int, tuple[int, ...]] = dict.fromkeys(starts.values(), ())
    believed = [starts[asked]] * (len(chain) + 1)
    states = [(starts[asked], *believed)]
    for name, _, place, one, two, _, hidden, _ in moves:
        watchers[place] = (one, two, hidden)
        if name == asked:
            seen = (_sees(chain[:n], watchers[place]) for n in range(len(chain) + 1))
            believed = [place if saw else old for saw, old in zip(seen, believed, strict=True)]
            states.append((place, *believed))
    return BeliefTask(asked, chain, watchers, tuple(states))


def read_belief_completion(task: BeliefTask, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        task: from :func:`read_belief_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    walk = Walk(ids)
    lines: list[Line] = []
    finished, strategy = False, -1
    try:
        strategy = walk.take(Role.STRATEGY, (_FORWARD, _DIRECT))
        if strategy == _FORWARD:
            while walk.next == DO:
                lines.append(_line(task, walk, lines))
        _close(task, walk, lines, direct=strategy == _DIRECT)
        finished = walk.end() and strategy == _FORWARD
    except Lost:
        pass
    gold = task.states[-1][-1]
    answer = answered(ids)
    answer = answer if len(answer) == 1 and answer[0] in PLACES else ()
    needed = len(task.states)
    right = sum(
        line.watchers == task.watchers[state[0]] and (line.place, *line.beliefs) == state
        for line, state in zip(lines, task.states, strict=False)
    )
    return verdict(
        walk,
        answer=answer,
        outcome=answer == (gold,),
        lenient=next((i for i in reversed(ids) if i in PLACES), -1) == gold,
        finished=finished and len(lines) == needed,
        ended=ended,
        process=right / needed,
        efficiency=min(1.0, needed / len(lines)) if lines else float("nan"),
        strategy=WORDS[strategy] if strategy >= 0 else "",
    )._replace(more={"trace_f1": _f1(task, lines)})


def _is_move(move: tuple[int, ...], at: dict[int, int]) -> bool:
    """Whether this moves an object from its present place (``at``, which is updated)."""
    if len(move) != _MOVE or at.get(move[0]) != move[1] or move[5] != HIDDEN or move[7] != END:
        return False
    at[move[0]] = move[2]
    people = {move[3], move[4], move[6]}
    return len(people) == 3 and people <= set(PEOPLE)


def _sees(chain: tuple[int, ...], watchers: tuple[int, ...]) -> bool:
    """Whether a move with these watchers (two open ones, a hidden one) changes what a chain believes."""
    return not watchers or not chain or (chain[0] in watchers and set(chain[1:]) <= set(watchers[:2]))


def _line(task: BeliefTask, walk: Walk, lines: list[Line]) -> Line:
    walk.take(Role.SYNTAX, (DO,))
    at = len(lines)
    if lines:
        walk.take(Role.LOOKUP, PLACES, (lines[-1].beliefs[0],))
    else:
        walk.take(Role.COPY, OBJECTS, (task.asked,))
    expected = (task.states[at][0],) if at < len(task.states) else ()
    place = walk.take(Role.PLAN, PLACES, expected, choice=True)
    told = task.watchers.get(place) or task.watchers.get(expected[0] if expected else -1) or (-1, -1, -1)
    watchers: tuple[int, ...] = ()
    if lines:
        one = walk.take(Role.COPY, PEOPLE, told[:1])
        two = walk.take(Role.COPY, PEOPLE, told[1:2])
        walk.take(Role.SYNTAX, (HIDDEN,))
        watchers = (one, two, walk.take(Role.COPY, PEOPLE, told[2:]))
    walk.take(Role.SYNTAX, (ARROW,))
    beliefs = [walk.take(Role.LOOKUP, PLACES, (place,))]
    for n, agent in enumerate(task.chain, start=1):
        walk.take(Role.REPEAT, PEOPLE, (agent,))
        due = place if _sees(task.chain[:n], watchers) else lines[-1].beliefs[n]
        beliefs.append(walk.take(Role.ARITHMETIC, PLACES, (due,)))
    walk.take(Role.SYNTAX, (END,))
    return Line(place, watchers, tuple(beliefs))


def _close(task: BeliefTask, walk: Walk, lines: list[Line], *, direct: bool) -> None:
    walk.take(Role.SYNTAX, (ANS,))
    if not direct and len(lines) != len(task.states):
        walk.flag()
    due = lines[-1].beliefs[-1] if lines else task.states[-1][-1]
    walk.take(Role.ANSWER, PLACES, (due,))


def _f1(task: BeliefTask, lines: list[Line]) -> float:
    said = {(line.place, n, believed) for line in lines for n, believed in enumerate(line.beliefs)}
    true = {(state[0], n, believed) for state in task.states for n, believed in enumerate(state[1:])}
    return 2 * len(said & true) / (len(said) + len(true))
