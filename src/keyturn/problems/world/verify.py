"""The verifier: which domain a prompt belongs to, and the reading of a completion of it.

Written apart from the generator: it evaluates the problem from the prompt's tokens and reads nothing of
what the generator knew. Of the world it knows the arithmetic (modulus, maps) and whether texts are written
in any valid order.
"""

from __future__ import annotations

from typing import TypeAlias

from keyturn.problems.world.chain import ChainWorld
from keyturn.problems.world.graph_task import GraphTask, read_graph_prompt
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.verify_chain import ChainTask, read_chain_completion, read_chain_prompt
from keyturn.problems.world.verify_graph import read_graph_completion
from keyturn.problems.world.worlds import World

Task: TypeAlias = ChainTask | GraphTask


def read_prompt(world: World, ids: list[int]) -> Task:
    """The task that a prompt states.

    Raises:
        InputError: the ids are no prompt of this world.
    """
    if isinstance(world, ChainWorld):
        return read_chain_prompt(ids)
    return read_graph_prompt(ids, world.modulus, free=world.order == "free")


def read_completion(task: Task, ids: list[int], *, ended: bool = True) -> Reading:
    """Judge one completion; the rules are in :mod:`keyturn.problems.world.reading`.

    Args:
        task: from :func:`read_prompt`.
        ids: token ids, with or without the final ``EOS``.
        ended: the text ended by itself and was not cut.
    """
    if isinstance(task, ChainTask):
        return read_chain_completion(task, ids, ended=ended)
    return read_graph_completion(task, ids, ended=ended)
