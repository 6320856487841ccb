"""The verifier of NIM: reads prompt and completion tokens, and knows only the game.

A completion is verified if and only if every token is right given the tokens before it, the trace is complete
and the answer is a winning move (or ``~`` if there is none). ``FWD`` may take any winning move. ``SCAN`` may
try moves in any order, each once, must stop at the first that wins, and may answer ``~`` only after trying all.
An answer alone is never verified. ``process``: share of right lines among those needed (one per heap and the
move; one per heap and the last node, or all nodes of a lost position). ``efficiency`` of a search: needed nodes
over tried nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from keyturn.core.errors import InputError
from keyturn.core.roles import Role
from keyturn.problems.world.nim_play import LARGEST, MOST_HEAPS, NIM, NONE, Node, Position, every_move
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.vocabulary import (
    ANS,
    ARROW,
    BACK,
    BOS,
    DO,
    END,
    EX,
    ID,
    MAP,
    MINUS,
    OK,
    QUERY,
    VALUE,
    WORDS,
)
from keyturn.problems.world.walk import Lost, Walk, answered, verdict

_RULE, _SEARCH, _DIRECT = ID["FWD"], ID["SCAN"], ID["DIR"]
_VALUES = range(VALUE, VALUE + LARGEST + 1)
_HEAPS = range(MAP, MAP + MOST_HEAPS)


class _Trace:
    """The content of a completion so far."""

    def __init__(self) -> None:
        self.worths: list[int] = []
        self.total = 0
        """Exclusive or of the worths, as the rule stated it."""
        self.right = 0
        """Number of lines that are right given the prompt."""
        self.nodes: list[Node] = []
        self.chosen: Node | None = None
        """The move that the text found."""
        self.settled = False
        """Whether it found a move, or that none is left."""


def read_nim_prompt(ids: Sequence[int]) -> Position:
    """The position that a prompt states.

    Raises:
        InputError: the ids are not a NIM prompt.
    """
    names, sizes = tuple(ids[5:-1:2]), tuple(i - VALUE for i in ids[6:-1:2])
    framed = tuple(ids[:3]) == (BOS, NIM, MINUS) and len(ids) > 6 and ids[4] == END and ids[-1] == QUERY
    takes = ids[3] - VALUE if framed else 0
    if (
        not framed
        or len(names) != len(sizes)
        or names != tuple(_HEAPS[: len(names)])
        or not 1 <= takes <= LARGEST
        or not all(takes <= size <= LARGEST for size in sizes)
    ):
        raise InputError("this is not a NIM prompt", fix="BOS CTL8 - K ; names and sizes of heaps, ?")
    return Position(takes, sizes)


def read_nim_completion(position: Position, ids: Sequence[int], *, ended: bool) -> Reading:
    """Judge one completion.

    Args:
        position: from :func:`read_nim_prompt`.
        ids: token ids of the completion, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    wins = _wins(position)
    walk, trace = Walk(ids), _Trace()
    finished, strategy = False, -1
    try:
        strategy = walk.take(Role.STRATEGY, (_RULE, _SEARCH, _DIRECT))
        if strategy != _DIRECT:
            _heaps(position, walk, trace, running=strategy == _RULE)
        if strategy == _RULE:
            _move(position, walk, trace, wins)
        elif strategy == _SEARCH:
            while walk.next == EX:
                _node(position, walk, trace, wins)
        _close(position, walk, trace, wins, direct=strategy == _DIRECT)
        finished = walk.end() and strategy != _DIRECT
    except Lost:
        pass
    right = [(MAP + node.heap, VALUE + node.amount) for node in wins] or [(NONE,)]
    answer = answered(ids)
    shape = len(answer) == 2 and answer[0] in _HEAPS and answer[1] in _VALUES
    answer = answer if shape or answer == (NONE,) else ()
    searching = strategy == _SEARCH
    nodes = len(every_move(position)) if searching and not wins else 1
    return verdict(
        walk,
        answer=answer,
        outcome=answer in right,
        lenient=_last_answer(ids) in right,
        finished=finished,
        ended=ended,
        process=min(1.0, trace.right / (len(position.sizes) + nodes)),
        efficiency=min(1.0, nodes / len(trace.nodes)) if trace.nodes else math.nan,
        strategy=WORDS[strategy] if strategy >= 0 else "",
    )


@lru_cache(maxsize=4096)
def _wins(position: Position) -> tuple[Node, ...]:
    """The moves after which whoever must move has lost."""
    return tuple(node for node in every_move(position) if _after(position, position.worths, node)[-1] == 0)


def _after(position: Position, worths: Sequence[int], node: Node) -> list[int]:
    """Running exclusive or of the worths after a move."""
    changed = list(worths)
    changed[node.heap] = (position.sizes[node.heap] - node.amount) % (position.takes + 1)
    running, out = 0, []
    for worth in changed:
        running ^= worth
        out.append(running)
    return out


def _heaps(position: Position, walk: Walk, trace: _Trace, *, running: bool) -> None:
    """Read a line for each heap: name, size, worth, and in the rule the running exclusive or."""
    said, true = 0, 0
    for heap, size in enumerate(position.sizes):
        walk.take(Role.SYNTAX, (DO,))
        start = len(walk.errors)
        walk.take(Role.COPY, _HEAPS, (MAP + heap,))
        written = walk.take(Role.COPY, _VALUES, (VALUE + size,)) - VALUE
        worth = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + written % (position.takes + 1),)) - VALUE
        true ^= position.worths[heap]
        if running:
            said = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + (said ^ worth),)) - VALUE
        walk.take(Role.SYNTAX, (END,))
        trace.worths.append(worth)
        trace.right += not any(walk.errors[start:]) and (not running or said == true)
    trace.total = said


def _move(position: Position, walk: Walk, trace: _Trace, wins: Sequence[Node]) -> None:
    """Read the rule's move: the heap, its worth, the worth to reach, the amount to take; or none."""
    walk.take(Role.SYNTAX, (ARROW,))
    start = len(walk.errors)
    heaps = _HEAPS[: len(position.sizes)]
    aims = [worth ^ trace.total for worth in trace.worths]
    able = [MAP + at for at, aim in enumerate(aims) if aim <= position.takes]
    due = able if trace.total else [NONE]
    heap = walk.take(Role.PLAN, (*heaps, NONE), due, choice=True) - MAP
    if heap + MAP != NONE:
        worth = walk.take(Role.LOOKUP, _VALUES, (VALUE + trace.worths[heap],)) - VALUE
        aim = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + (worth ^ trace.total),)) - VALUE
        takes = (VALUE + (worth - aim) % (position.takes + 1),)
        trace.chosen = Node(heap, walk.take(Role.ARITHMETIC, _VALUES, takes) - VALUE)
    walk.take(Role.SYNTAX, (END,))
    trace.settled = True
    trace.right += not any(walk.errors[start:]) and (trace.chosen in wins if wins else trace.chosen is None)


def _node(position: Position, walk: Walk, trace: _Trace, wins: Sequence[Node]) -> None:
    """Read a tried move: heap, amount, the heap's new worth, the running exclusive or, whether a dead end."""
    walk.take(Role.SYNTAX, (EX,))
    if trace.settled:
        walk.flag()
    start = len(walk.errors)
    left = [node for node in every_move(position) if node not in trace.nodes]
    open_heaps = tuple(dict.fromkeys(MAP + node.heap for node in left))
    heap = walk.take(Role.PLAN, _HEAPS[: len(position.sizes)], open_heaps, choice=True) - MAP
    amounts = tuple(VALUE + node.amount for node in left if node.heap == heap)
    amount = walk.take(Role.PLAN, _VALUES, amounts, choice=True) - VALUE
    node = Node(heap, amount)
    worth = (position.sizes[heap] - amount) % (position.takes + 1)
    said = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + worth,)) - VALUE
    running = 0
    for at, one in enumerate(trace.worths):
        due = running ^ (said if at == heap else one)
        running = walk.take(Role.ARITHMETIC, _VALUES, (VALUE + due,)) - VALUE
    won = running == 0
    if walk.next == BACK:
        walk.take(Role.BACKTRACK, (BACK,), () if won else (BACK,))
    else:
        walk.take(Role.VERIFY, (OK,), (OK,) if won else ())
    walk.take(Role.SYNTAX, (END,))
    fine = not any(walk.errors[start:])
    trace.nodes.append(node)
    trace.right += fine and (not wins or node in wins) and (running == 0) == (node in wins)
    if won:
        trace.chosen, trace.settled = node, True
    elif len(trace.nodes) >= len(every_move(position)):
        trace.settled = True


def _close(position: Position, walk: Walk, trace: _Trace, wins: Sequence[Node], *, direct: bool) -> None:
    walk.take(Role.SYNTAX, (ANS,))
    if not direct and not trace.settled:
        walk.flag()
    chosen = trace.chosen
    if direct and wins:
        chosen = next((node for node in wins if MAP + node.heap == walk.next), wins[0])
    if walk.next == NONE:
        walk.take(Role.ANSWER, (NONE,), () if chosen else (NONE,))
        return
    walk.take(Role.ANSWER, _HEAPS[: len(position.sizes)], (MAP + chosen.heap,) if chosen else ())
    walk.take(Role.ANSWER, _VALUES, (VALUE + chosen.amount,) if chosen else ())


def _last_answer(ids: Sequence[int]) -> tuple[int, ...]:
    """The answer after the last ``ANS``, or else the text's last heap and value."""
    words = list(ids)
    if ANS in words:
        words = words[len(words) - words[::-1].index(ANS) :]
        if words[:1] == [NONE]:
            return (NONE,)
    pairs = pairwise(words)
    found = [(heap, size) for heap, size in pairs if heap in _HEAPS and size in _VALUES]
    return found[0] if ANS in ids and found else (found[-1] if found else ())
