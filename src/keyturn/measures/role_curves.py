"""How each role changed during training: where its curve began, where it ended, and when it was half way.

Formula: for a curve x_s over training steps (a column ``entropy/<role>``, minus ``floor/<role>`` where there
is one, or ``error/<role>`` or ``probability/<role>`` of the metrics), start and end are the means over the
first and the last tenth of the steps. The half-way step is the first at which the running mean over a tenth
has crossed ``(start + end) / 2``. The order of the half-way steps is the order in which roles were learnt.
Denominator: the steps that have the column.
Degenerate: fewer than 10 steps say nothing; where start and end differ by less than twice the standard error
of their difference there is no half way (NaN, n = 0). Known bias: this is one run, whose neighbouring steps
resemble each other, so the standard error is somewhat too small. Source: ours, after the two phases of Wang et
al. 2025, 2509.03646.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keyturn.core.measurement import Measurement, Null

_COLUMN = re.compile(r"^(entropy|error|probability)/([a-z]+)$")
_UNITS = {"entropy": "nats", "error": "share of tokens", "probability": "probability"}
_FEWEST_STEPS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class RoleCurve:
    """One column of the metrics over training.

    Args:
        quantity: ``entropy``, ``error`` or ``probability``.
        role: a role or a group of roles, lower case.
        steps: where it was reported, float64 ``[step]``.
        values: float64 ``[step]``, no NaN.
    """

    quantity: str
    role: str
    steps: NDArray[np.float64]
    values: NDArray[np.float64]


def role_curves(history: Sequence[Mapping[str, float]]) -> tuple[RoleCurve, ...]:
    """The by-role columns of a run's metrics, in the order of their first appearance.

    Args:
        history: one mapping per step, oldest first. Its entry ``step`` is its number, else its place is.
    """
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for place, row in enumerate(history):
        step = row.get("step", place)
        for key, value in row.items():
            match = _COLUMN.match(key)
            if match and isinstance(value, int | float) and math.isfinite(value):
                floor = row.get(f"floor/{match[2]}", 0.0) if match[1] == "entropy" else 0.0
                points.setdefault((match[1], match[2]), []).append((float(step), float(value) - floor))
    return tuple(
        RoleCurve(quantity=quantity, role=role, steps=np.array(xy)[:, 0], values=np.array(xy)[:, 1])
        for (quantity, role), xy in points.items()
    )


def half_way(curve: RoleCurve) -> float:
    """The step at which the curve was half way; NaN where it went nowhere (see the docstring of the file)."""
    x = curve.values
    if len(x) < _FEWEST_STEPS:
        return math.nan
    first, last = _ends(x)
    change = last.mean() - first.mean()
    error = math.sqrt(_squared_error(first) + _squared_error(last))
    if abs(change) <= 2 * error or change == 0:
        return math.nan
    window = len(first)
    running = np.convolve(x, np.ones(window) / window, mode="valid")
    crossed = np.flatnonzero((running - (first.mean() + last.mean()) / 2) * np.sign(change) >= 0)
    # The last window lies beyond the middle, so there is a crossing; its own middle step is told.
    return float(curve.steps[crossed[0] + window // 2])


def curve_measurements(history: Sequence[Mapping[str, float]]) -> Iterator[Measurement]:
    """Start, end and half-way step of every curve."""
    for curve in role_curves(history):
        first, last = _ends(curve.values)
        where = {"quantity": curve.quantity, "by": curve.role, "policy": "training"}
        null = Null(kind="none possible")
        for when, part in (("start", first), ("end", last)):
            yield Measurement(
                name="role_training",
                value=float(part.mean()),
                n=len(part),
                unit=f"{_UNITS[curve.quantity]}; n counts steps",
                null=null,
                parameters={**where, "when": when},
            )
        step = half_way(curve)
        yield Measurement(
            name="role_half_step",
            value=step,
            n=0 if math.isnan(step) else len(curve.values),
            unit="training step; n counts steps",
            null=null,
            parameters=where,
        )


def _ends(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    tenth = max(1, round(len(values) / 10))
    return values[:tenth], values[-tenth:]


def _squared_error(part: NDArray[np.float64]) -> float:
    return float(part.var(ddof=1) / len(part)) if len(part) > 1 else 0.0
