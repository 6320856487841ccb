"""The rules of NIM and nothing else: which moves a position allows, what a move leaves, and who has lost.

A move takes 1 to K from one heap, and whoever takes the last wins. That is all that a search is told. Which
position is worth what, and which move wins, are not here: :mod:`keyturn.problems.world.nim_play` and the
verifier know them, and neither is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from keyturn.core.errors import InputError
from keyturn.core.problem import Problem
from keyturn.problems.world.nim_play import MOST_HEAPS, NONE, Node, Position
from keyturn.problems.world.nim_text import prompt_ids
from keyturn.problems.world.verify_nim import read_nim_prompt
from keyturn.problems.world.vocabulary import MAPS, WORDS, decode, encode

HEAPS = MAPS[:MOST_HEAPS]
"""Words that name the heaps."""
NOTHING = WORDS[NONE]
"""The word that says that no move wins."""


def positions_of(problems: Sequence[Problem], whose: str) -> list[Position]:
    """The positions that problems show in their prompts.

    Raises:
        InputError: a problem is not one of NIM.
    """
    found = []
    for problem in problems:
        try:
            found.append(read_nim_prompt(encode(problem.prompt)))
        except InputError:
            what = f"{whose} plays NIM, and the problem {problem.id!r} shows no position of it"
            raise InputError(what, fix="a base of NIM (keyturn world pretrain nim) and its problems") from None
    return found


def legal_moves(position: Position) -> tuple[Node, ...]:
    """Every move, heap by heap; none where all heaps are gone and whoever must move has lost."""
    return tuple(
        Node(heap, amount)
        for heap, size in enumerate(position.sizes)
        for amount in range(1, min(position.takes, size) + 1)
    )


def after(position: Position, move: Node) -> Position:
    """What a move leaves to the other player; empty heaps are taken away."""
    left = list(position.sizes)
    left[move.heap] -= move.amount
    return Position(position.takes, tuple(size for size in left if size))


def prompt_of(position: Position) -> str:
    """The prompt that shows a position, its heaps named anew from the first name on."""
    return decode(prompt_ids(position))


def said(move: Node | None) -> str:
    """A move as an answer says it."""
    return NOTHING if move is None else f"{HEAPS[move.heap]} {move.amount}"
