"""A demonstration of a given problem: its trace in a named strategy and format.

For figures, forced prefixes and supervised data on existing problems; corpora draw their own problems.
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
        world: the problem's world.
        problem: a problem of any split.
        streams: randomness for free order, errors and retractions; keyed by the problem.
        strategy: one of ``world.manners["strategy"]``, the first by default; a world without any ignores it.
        format: the same for ``format``.

    Raises:
        UsageError: an unknown strategy or format.
    """
    return world.demonstrate(problem, streams, strategy=strategy, format=format)
