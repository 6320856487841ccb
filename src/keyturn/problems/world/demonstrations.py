"""A demonstration of a given problem: the trace that a named strategy and format write for it.

For pictures, forced prefixes and supervised data on problems that already exist; corpora draw their own.
"""

from __future__ import annotations

from keyturn.core.problem import Problem
from keyturn.core.streams import Streams
from keyturn.problems.world.contract import World
from keyturn.problems.world.document import Document


def demonstrate(
    world: World, problem: Problem, streams: Streams, *, strategy: str | None = None, format: str | None = None
) -> Document:
    """One completion of a problem, with roles and valid choices.

    Args:
        world: of the problem.
        problem: any split.
        streams: for free order, slips and retractions; keyed by the problem.
        strategy: one of ``world.manners["strategy"]``, the first by default; a world without any ignores it.
        format: the same for ``format``.

    Raises:
        UsageError: an unknown strategy or format.
    """
    return world.demonstrate(problem, streams, strategy=strategy, format=format)
