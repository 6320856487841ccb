"""Lines of the tables that methods and studies print: estimates with their intervals."""

from __future__ import annotations

from keyturn.core.measurement import Estimate, Json, json_number
from keyturn.core.statistics.bootstrap import bootstrap_mean
from keyturn.core.streams import Streams
from keyturn.rollouts.grades import Answers


def accuracy(given: Answers, streams: Streams, *, verified: bool = True) -> Estimate:
    """Mean success over problems with its bootstrap interval. Counts verified success if traces are read and
    ``verified`` is set.
    """
    rates = given.rates(None if verified else given.outcome)
    found = bootstrap_mean(rates, streams.generator("accuracy"))
    # With only a few problems, the widened interval can exceed the range of a rate.
    return Estimate(found.value, max(found.low, 0.0), min(found.high, 1.0))


def row(name: str, estimate: Estimate, **more: Json) -> dict[str, Json]:
    """A line of a method's table."""
    return {
        "name": name,
        "value": json_number(estimate.value),
        "low": json_number(estimate.low),
        "high": json_number(estimate.high),
        **more,
    }
