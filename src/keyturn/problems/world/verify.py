"""The verifier: the task of a prompt, and the reading of a completion.

It is independent of the generators: it solves the problem from the prompt's tokens and uses nothing that the
generator knew. Of the world it knows the arithmetic (modulus, maps) and whether texts use any valid order.
"""

from __future__ import annotations

from keyturn.problems.world.contract import Reader, World
from keyturn.problems.world.reading import Reading


def read_prompt(world: World, ids: list[int]) -> Reader:
    """The reader of a prompt's completions.

    Raises:
        InputError: the ids are not a prompt of this world.
    """
    return world.reader(ids)


def read_completion(reader: Reader, ids: list[int], *, ended: bool = True) -> Reading:
    """Judge one completion; the rules are in :mod:`keyturn.problems.world.reading`.

    Args:
        reader: from :func:`read_prompt`.
        ids: token ids, with or without the final ``EOS``.
        ended: whether the text ended by itself and was not cut.
    """
    return reader(ids, ended=ended)
