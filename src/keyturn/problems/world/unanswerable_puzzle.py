"""Two chains of definitions, exactly one of which is broken; the right answer depends on which end is asked
for.

A chain of depth d is a constant and d - 1 definitions, each equal to the one before plus or minus a constant.
In one of the two chains one definition, not the last, is *missing*, or occurs twice and *contradicts* itself
(with another constant). The statements do not depend on the question, so every unanswerable problem has an
answerable twin with the same words except for the asked name.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from keyturn.problems.world.dice import Dice
from keyturn.problems.world.vocabulary import END, EQUALS, MINUS, NOUN, NOUNS_EACH, PLUS, VALUE

Defect = Literal["missing", "contradictory"]
DEEPEST = NOUNS_EACH // 2
NAMES = range(NOUN, NOUN + NOUNS_EACH)


class Link(NamedTuple):
    """A definition: sign (0 for the constant at the bottom) and constant; a broken one may have another."""

    sign: int
    constant: int
    other: int
    """A second constant that contradicts the first; -1 for none."""
    missing: bool


class Puzzle(NamedTuple):
    """Two chains, bottom first; the first is the broken one."""

    chains: tuple[tuple[Link, ...], tuple[Link, ...]]


def draw_puzzle(depth: int, defect: Defect, modulus: int, dice: Dice) -> Puzzle:
    """A puzzle.

    Args:
        depth: number of definitions in a chain, 2 or more.
        defect: defect of the first chain.
        modulus: modulus of the arithmetic; added constants are never 0.
        dice: source of randomness.
    """
    broken, whole = (
        [Link(0, dice.below(modulus), -1, missing=False)]
        + [Link(dice.pick((1, -1)), 1 + dice.below(modulus - 1), -1, missing=False) for _ in range(depth - 1)]
        for _ in range(2)
    )
    at = dice.below(depth - 1)
    link = broken[at]
    if defect == "missing":
        broken[at] = link._replace(missing=True)
    else:
        low = 1 if at else 0
        other = low + (link.constant - low + 1 + dice.below(modulus - low - 1)) % (modulus - low)
        broken[at] = link._replace(other=other)
    return Puzzle((tuple(broken), tuple(whole)))


def values(chain: tuple[Link, ...], modulus: int) -> list[int]:
    """Value of every definition, bottom first."""
    out: list[int] = []
    for link in chain:
        out.append((out[-1] + link.sign * link.constant) % modulus if out else link.constant)
    return out


def tell(puzzle: Puzzle, dice: Dice) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Statements in random order with random names, and the names of the two ends, as token ids."""
    names = list(NAMES)
    dice.shuffle(names)
    statements: list[tuple[int, ...]] = []
    ends: list[int] = []
    for chain in puzzle.chains:
        before = -1
        for link in chain:
            name = names.pop()
            constants = [] if link.missing else [link.constant, *([link.other] if link.other >= 0 else [])]
            sign = (before, PLUS if link.sign > 0 else MINUS) if link.sign else ()
            statements += [(name, EQUALS, *sign, VALUE + constant, END) for constant in constants]
            before = name
        ends.append(before)
    dice.shuffle(statements)
    return tuple(token for statement in statements for token in statement), (ends[0], ends[1])
