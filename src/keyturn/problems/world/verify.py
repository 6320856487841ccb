"""The verifier: what a prompt asks, and the reading of a completion of it.

Written apart from the generators: it evaluates the problem from the prompt's tokens and reads nothing of
what the generator knew. Of the world it knows the arithmetic (modulus, maps) and whether texts are written
in any valid order.
"""

from __future__ import annotations

from keyturn.problems.world.contract import Reader, World
from keyturn.problems.world.reading import Reading


def read_prompt(world: World, ids: list[int]) -> Reader:
    """The reader of a prompt's completions.

    Raises:
        InputError: the ids are no prompt of this world.
    """
    return world.reader(ids)


def read_completion(reader: Reader, ids: list[int], *, ended: bool = True) -> Reading:
    """Judge one completion; the rules are in :mod:`keyturn.problems.world.reading`.

    Args:
        reader: from :func:`read_prompt`.
        ids: token ids, with or without the final ``EOS``.
        ended: the text ended by itself and was not cut.
    """
    return reader(ids, ended=ended)
