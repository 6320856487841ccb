"""Completions that can be listed: where all valid ones are known, a base's success probability is a sum.

CHAIN has exactly one valid completion a problem, so the list is whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from keyturn.core.problem import Problem
from keyturn.problems.world import chain
from keyturn.problems.world.verify import read_prompt
from keyturn.problems.world.vocabulary import encode
from keyturn.problems.world.worlds import World


@dataclass(frozen=True, kw_only=True)
class ValidCompletions:
    """Verified completions of one problem.

    Args:
        ids: distinct token id sequences, each with its ``EOS``.
        complete: nothing verified is left out, so that a sum over them is exact and not only a lower bound.
        left_out: what is not listed, in words; "" where complete.
    """

    ids: tuple[tuple[int, ...], ...]
    complete: bool
    left_out: str = ""


def valid_completions(world: World, problem: Problem) -> ValidCompletions:
    """The verified completions of a problem, as far as they can be listed."""
    task = read_prompt(encode(problem.prompt))
    return ValidCompletions(ids=(chain.valid_trace(task.maps, task.start),), complete=True)
