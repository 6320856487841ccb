"""The verifier: which domain a prompt belongs to, and the reading of a completion of it.

Written apart from the generator: it evaluates the problem from the prompt's tokens and reads nothing of
what the generator knew.
"""

from __future__ import annotations

from typing import TypeAlias

from keyturn.problems.world import verify_chain
from keyturn.problems.world.reading import Reading
from keyturn.problems.world.verify_chain import ChainTask

Task: TypeAlias = ChainTask


def read_prompt(ids: list[int]) -> Task:
    """The task that a prompt states.

    Raises:
        InputError: the ids are no prompt of a controlled world.
    """
    return verify_chain.read_prompt(ids)


def read_completion(task: Task, ids: list[int], *, ended: bool = True) -> Reading:
    """Judge one completion; the rules are in :mod:`keyturn.problems.world.reading`.

    Args:
        task: from :func:`read_prompt`.
        ids: token ids, with or without the final ``EOS``.
        ended: the text ended by itself and was not cut.
    """
    return verify_chain.read_completion(task, ids, ended=ended)
