"""The texts of NIM: rule, search and answer alone, and variants of the search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Literal

from keyturn.core.errors import unknown
from keyturn.core.roles import Role
from keyturn.problems.world.dice import Dice
from keyturn.problems.world.document import Document
from keyturn.problems.world.nim_play import NIM, NONE, Node, Position, every_move, total, winning_moves
from keyturn.problems.world.vocabulary import (
    ANS,
    ARROW,
    BACK,
    BOS,
    DO,
    END,
    EOS,
    EX,
    ID,
    MAP,
    MINUS,
    OK,
    QUERY,
    VALUE,
)

Linearised = Literal["search", "optimal", "shuffled", "answer"]


def document_of(position: Position, strategy: str) -> Document:
    """The text that FWD, SCAN or DIR writes."""
    if strategy not in WRITERS:
        raise unknown("strategy", strategy, WRITERS)
    return WRITERS[strategy](position)


def linearised(position: Position, arm: Linearised, dice: Dice) -> Document:
    """A search as a text, or a variant for comparison.

    Args:
        position: position that is searched.
        arm: ``search`` (with its dead ends), ``optimal`` (dead ends removed; a lost position keeps them all,
            because they are its proof), ``shuffled`` (the same lines in random order, verified only if the
            winning move happens to be last), or ``answer`` (alone).
        dice: source of randomness for ``shuffled``.
    """
    if arm == "answer":
        return _write_answer(position)
    nodes = list(search_nodes(position))
    if arm == "optimal" and winning_moves(position):
        nodes = nodes[-1:]
    if arm == "shuffled":
        dice.shuffle(nodes)
    return write_search(position, nodes, component=arm)


def search_nodes(position: Position) -> tuple[Node, ...]:
    """The moves that the search tries: in order, up to the first that wins."""
    moves, wins = every_move(position), set(winning_moves(position))
    last = next((at for at, move in enumerate(moves) if move in wins), len(moves) - 1)
    return moves[: last + 1]


def write_search(position: Position, nodes: Sequence[Node], *, component: str = "SCAN") -> Document:
    """A search that tries these moves; its answer is the winning one among them."""
    ids, roles = [ID["SCAN"]], [Role.STRATEGY]
    choices: dict[int, tuple[int, ...]] = {}
    for heap, (size, worth) in enumerate(zip(position.sizes, position.worths, strict=True)):
        ids += (DO, MAP + heap, VALUE + size, VALUE + worth, END)
        roles += (Role.SYNTAX, Role.COPY, Role.COPY, Role.ARITHMETIC, Role.SYNTAX)
    left = dict.fromkeys(every_move(position))
    won: Node | None = None
    for node in nodes:
        choices[len(ids) + 1] = tuple(MAP + heap for heap in dict.fromkeys(move.heap for move in left))
        choices[len(ids) + 2] = tuple(VALUE + move.amount for move in left if move.heap == node.heap)
        left.pop(node, None)
        worths = list(position.worths)
        worths[node.heap] = (position.sizes[node.heap] - node.amount) % (position.takes + 1)
        running = [VALUE + total(worths[: n + 1]) for n in range(len(worths))]
        won = node if running[-1] == VALUE else won
        ids += (EX, MAP + node.heap, VALUE + node.amount, VALUE + worths[node.heap], *running)
        roles += (Role.SYNTAX, Role.PLAN, Role.PLAN, Role.ARITHMETIC, *[Role.ARITHMETIC] * len(running))
        dead = running[-1] != VALUE
        ids += (BACK if dead else OK, END)
        roles += (Role.BACKTRACK if dead else Role.VERIFY, Role.SYNTAX)
    return _document(position, ids, roles, choices, won, component)


def prompt_ids(position: Position) -> tuple[int, ...]:
    """``BOS CTL8 - 3 ; f 5 g 4 ?``."""
    heaps = [token for n, size in enumerate(position.sizes) for token in (MAP + n, VALUE + size)]
    return (BOS, NIM, MINUS, VALUE + position.takes, END, *heaps, QUERY)


def write_rule(position: Position, move: Node | None) -> Document:
    """The rule, with this winning move (None for a lost position)."""
    ids, roles = [ID["FWD"]], [Role.STRATEGY]
    running = 0
    for heap, (size, worth) in enumerate(zip(position.sizes, position.worths, strict=True)):
        running ^= worth
        ids += (DO, MAP + heap, VALUE + size, VALUE + worth, VALUE + running, END)
        roles += (Role.SYNTAX, Role.COPY, Role.COPY, Role.ARITHMETIC, Role.ARITHMETIC, Role.SYNTAX)
    choices = {len(ids) + 1: tuple(MAP + won.heap for won in winning_moves(position)) or (NONE,)}
    ids.append(ARROW)
    roles.append(Role.SYNTAX)
    if move:
        worth = position.worths[move.heap]
        ids += (MAP + move.heap, VALUE + worth, VALUE + (worth ^ running), VALUE + move.amount, END)
        roles += (Role.PLAN, Role.LOOKUP, Role.ARITHMETIC, Role.ARITHMETIC, Role.SYNTAX)
    else:
        ids += (NONE, END)
        roles += (Role.PLAN, Role.SYNTAX)
    return _document(position, ids, roles, choices, move, "FWD")


def _write_answer(position: Position) -> Document:
    return _document(position, [ID["DIR"]], [Role.STRATEGY], {}, _first(position), "DIR")


def _first(position: Position) -> Node | None:
    return next(iter(winning_moves(position)), None)


def every_valid(position: Position, strategies: Mapping[str, float]) -> Iterator[Document]:
    """The canonical rule and search first, then the rule's other moves, then searches from short to long."""
    wins = winning_moves(position)
    rule = [write_rule(position, move) for move in wins or (None,)] if strategies.get("FWD", 0) > 0 else []
    yield from rule[:1]
    searched = strategies.get("SCAN", 0) > 0
    canonical_nodes = search_nodes(position)
    if searched:
        yield write_search(position, canonical_nodes)
    yield from rule[1:]
    if not searched:
        return
    dead = [move for move in every_move(position) if move not in wins]
    for size in range(len(dead) + 1) if wins else (len(dead),):
        for before in permutations(dead, size):
            for last in wins or (None,):
                nodes = (*before, last) if last else before
                if nodes != canonical_nodes:
                    yield write_search(position, nodes)


def _document(
    position: Position,
    ids: list[int],
    roles: list[Role],
    choices: dict[int, tuple[int, ...]],
    won: Node | None,
    component: str,
) -> Document:
    answer = answer_ids(won)
    return Document(
        prompt=prompt_ids(position),
        completion=(*ids, ANS, *answer, EOS),
        roles=tuple(map(int, (*roles, Role.SYNTAX, *[Role.ANSWER] * len(answer), Role.SYNTAX))),
        choices=choices,
        component=component,
    )


def answer_ids(move: Node | None) -> tuple[int, ...]:
    """The words of an answer."""
    return (MAP + move.heap, VALUE + move.amount) if move else (NONE,)


def _write_first(position: Position) -> Document:
    return write_rule(position, _first(position))


def _write_search(position: Position) -> Document:
    return write_search(position, search_nodes(position))


WRITERS: dict[str, Callable[[Position], Document]] = {
    "FWD": _write_first,
    "SCAN": _write_search,
    "DIR": _write_answer,
}
"""Strategy -> function that writes its text."""
