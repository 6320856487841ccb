"""BELIEF's stories: two objects are moved, some agents see each move, and beliefs follow from that.

There are four agents. Each move is seen openly by two (everyone who watches sees these two), secretly by one
(nobody knows of that one), and not by the fourth. A list of watchers therefore always has the same shape. Chain
``(a1, ..., ak)`` asks where a1 thinks that a2 thinks ... ak thinks the object is. The answer is the place of
its last move that a1 saw, openly or in secret, while a2, ..., ak watched openly, or the start, which all saw,
if there is no such move. So order matters from two on: a secret watcher knows the place, but the others do not
know this.

*balanced* stories have no shortcut by construction. First the lists of watchers are drawn without an order.
Then the rank of the answer among the places of the asked object is drawn, uniformly and independently of the
lists. Then the lists are assigned to moves so that this rank is right. So the words without their order tell
nothing about the rank. For chains of two or more, the belief of the chain without its last agent and the last
agent's own belief are newer than the answer unless the answer is the true place. So neither is right more often
than the true place. *natural* stories are like those of common benchmarks: most moves are seen, and the true
place is mostly right.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from keyturn.problems.world.dice import Dice
from keyturn.problems.world.vocabulary import FILLER, ID, NOUN, NOUNS_EACH

BELIEF = ID["CTL7"]
"""The word that says BELIEF."""
HIDDEN = FILLER
"""``~``: the agent after it watches in secret."""
OBJECTS = range(NOUN, NOUN + NOUNS_EACH)
PEOPLE = range(NOUN + NOUNS_EACH, NOUN + 2 * NOUNS_EACH)
PLACES = range(NOUN + 2 * NOUNS_EACH, NOUN + 3 * NOUNS_EACH)
MOST_MOVES = (NOUNS_EACH - 2) // 2
"""Maximum number of moves of each object, since every place is used once."""

Surface = Literal["balanced", "natural"]
AGENTS = 4
SEEN = 0.75
"""Probability that the chain sees a move of a natural story, and so that the true place is right."""


class Watchers(NamedTuple):
    """The agents that see a move, by number."""

    open: tuple[int, int]
    hidden: int


class Move(NamedTuple):
    """A move of one of the two objects."""

    asked: bool
    """Whether it is the object that is asked for."""
    watchers: Watchers


LISTS: tuple[Watchers, ...] = tuple(
    Watchers((others[0], others[1]), hidden)
    for hidden in range(AGENTS)
    for absent in range(AGENTS)
    if absent != hidden
    for others in [[agent for agent in range(AGENTS) if agent not in (hidden, absent)]]
)
"""The twelve possible lists."""


def sees(order: int, watchers: Watchers) -> bool:
    """Whether a move changes the belief of the chain ``(0, 1, ..., order - 1)``."""
    if order == 0:
        return True
    first = 0 in watchers.open or watchers.hidden == 0
    return first and all(agent in watchers.open for agent in range(1, order))


_VISIBLE = {order: [w for w in LISTS if sees(order, w)] for order in range(AGENTS)}
_INVISIBLE = {order: [w for w in LISTS if not sees(order, w)] for order in range(AGENTS)}
_SECRET = {
    order: [w for w in LISTS if w.hidden == order - 1 and sees(order - 1, w)] for order in range(2, AGENTS)
}
"""Lists that the chain without its last agent sees and that this agent sees in secret."""


def draw_story(order: int, moves: int, surface: Surface, dice: Dice) -> tuple[Move, ...]:
    """A story of ``moves`` moves of each object; agents are numbered along the chain that is asked for.

    Args:
        order: length of the chain, 0 to 3.
        moves: number of moves of each object.
        surface: balanced or natural.
        dice: source of randomness.
    """
    asked = _arrangement(moves, surface, dice)
    if surface == "natural" or order == 0:
        dealt = [_any_list(order, surface, dice) for _ in asked]
    else:
        dealt = _deal(order, moves, asked, dice)
    return tuple(Move(mine, _shuffled(watchers, dice)) for mine, watchers in zip(asked, dealt, strict=True))


def ranks(order: int, story: tuple[Move, ...]) -> tuple[int, ...]:
    """Number of the asked object's moves (0: its start) whose place each chain up to ``order`` believes in."""
    believed = [0] * (order + 1)
    mine = [move for move in story if move.asked]
    for number, move in enumerate(mine, start=1):
        for length in range(order + 1):
            if sees(length, move.watchers):
                believed[length] = number
    return tuple(believed)


def _arrangement(moves: int, surface: Surface, dice: Dice) -> list[bool]:
    """Which moves are of the asked object; in balanced stories all possible places of its last move are equally
    likely.
    """
    if surface == "natural":
        asked = [True] * moves + [False] * moves
        dice.shuffle(asked)
        return asked
    last = moves - 1 + dice.below(moves + 1)
    before = [True] * (moves - 1) + [False] * (last - moves + 1)
    dice.shuffle(before)
    return [*before, True, *[False] * (2 * moves - 1 - last)]


def _any_list(order: int, surface: Surface, dice: Dice) -> Watchers:
    if surface == "natural" and order:
        return dice.pick((_VISIBLE if dice.uniform() < SEEN else _INVISIBLE)[order])
    return dice.pick(LISTS)


def _deal(order: int, moves: int, asked: list[bool], dice: Dice) -> list[Watchers]:
    """Draw the lists of watchers, then the rank, then the list of each move."""
    visible = [dice.pick(_VISIBLE[order]) for _ in range(1 + dice.below(moves))]
    secret = [dice.pick(_SECRET[order])] if order > 1 else []
    rest = [dice.pick(_INVISIBLE[order]) for _ in range(2 * moves - len(visible) - len(secret))]
    rank = dice.below(moves + 1)
    slots = [at for at, mine in enumerate(asked) if mine]
    dealt: dict[int, Watchers] = {}
    if rank:
        dealt[slots[rank - 1]] = visible.pop()
    later = slots[rank:]
    dice.shuffle(later)
    if later and secret:
        dealt[later.pop()] = secret.pop()
    invisible = rest + secret
    dice.shuffle(invisible)
    for at in later:
        dealt[at] = invisible.pop()
    over = visible + invisible
    dice.shuffle(over)
    return [dealt[at] if at in dealt else over.pop() for at in range(2 * moves)]


def _shuffled(watchers: Watchers, dice: Dice) -> Watchers:
    one, two = watchers.open
    return Watchers((two, one), watchers.hidden) if dice.below(2) else watchers
