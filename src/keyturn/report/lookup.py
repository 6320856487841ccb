"""Look up measurements by name and parameters, and read them as estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keyturn.core.measurement import Estimate, Measurement, Parameter

NOTHING = Estimate(math.nan)


def find(measurements: Sequence[Measurement], name: str, **wanted: Parameter) -> list[Measurement]:
    """Every measurement of this name whose parameters have the wanted values.

    ``cell=None`` finds those without a cell, and None for another parameter those without it.
    """
    return [
        m
        for m in measurements
        if m.name == name and all(m.parameters.get(key) == value for key, value in wanted.items())
    ]


def first(measurements: Sequence[Measurement], name: str, **wanted: Parameter) -> Measurement | None:
    """The first measurement that :func:`find` finds, or None."""
    return next(iter(find(measurements, name, **wanted)), None)


def estimate_of(found: Measurement | None) -> Estimate:
    """Value and interval; undefined if nothing was found."""
    return NOTHING if found is None else Estimate(found.value, found.low, found.high)


def null_of(found: Measurement | None) -> Estimate:
    """Centre and range of the null; undefined if there is none."""
    if found is None or found.null is None:
        return NOTHING
    return Estimate(found.null.value, found.null.low, found.null.high)


def crossing_of(measurements: Sequence[Measurement], success: str) -> Measurement | None:
    """Where the pooled pass@k curves meet; None if that was not measured or the curves are single points."""
    found = first(measurements, "crossing", success=success, cell=None)
    return None if found is None or found.parameters.get("k_max") == 1 else found


def parameter_words(found: Measurement) -> str:
    """The parameters that are not None, as ``policy base, k 64``."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in found.parameters.items()
        if value is not None
    )
