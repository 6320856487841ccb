"""The result of every measure: a value with its interval, its n, its unit and its null."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Parameter: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; NaN if undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, Json] | None:
        """``{value, low, high}``, or null if the value is undefined."""
        if math.isnan(self.value):
            return None
        return {k: json_number(getattr(self, k)) for k in ("value", "low", "high")}


@dataclass(frozen=True, kw_only=True)
class Null:
    """The value of the same quantity if nothing happened.

    Args:
        kind: how it was made, e.g. ``"replicate of the base"``, ``"permuted deltas"``, ``"none possible"``.
        value: its centre, in the unit of the measurement.
        low: lower end of its 95 % range.
        high: upper end of its 95 % range.
    """

    kind: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number with its uncertainty. Undefined is NaN with ``n = 0``, never 0.

    Args:
        name: what was measured, e.g. ``"pass_at_k"``.
        value: the point estimate, in ``unit``.
        low: lower end of the 95 % interval (NaN if there is none).
        high: upper end of the 95 % interval.
        n: number of sampling units behind it; problems unless the unit says otherwise.
        unit: e.g. ``"probability"``, ``"nats"``, ``"tokens"``.
        null: its value if nothing had changed.
        parameters: flat keys that distinguish measurements of one name: ``policy``, ``k``, ``cell``, ``by``...
        note: one sentence for the reader, if the number needs it.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int
    unit: str
    null: Null | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Json]:
        """A flat object; an undefined value is null, an infinite one the string ``"inf"`` or ``"-inf"``."""
        out: dict[str, Json] = {
            "name": self.name,
            "value": json_number(self.value),
            "low": json_number(self.low),
            "high": json_number(self.high),
            "n": int(self.n),
            "unit": self.unit,
            "null": None
            if self.null is None
            else {
                "kind": self.null.kind,
                "value": json_number(self.null.value),
                "low": json_number(self.null.low),
                "high": json_number(self.null.high),
            },
        }
        for key, value in self.parameters.items():
            if key in out:
                raise ValueError(f"measurement {self.name}: parameter {key!r} hides a field")
            out[key] = json_number(value) if isinstance(value, float) else value
        if self.note:
            out["note"] = self.note
        return out


def json_number(value: float) -> float | str | None:
    """A number as valid JSON: NaN is null, infinity a string, and numpy scalars become Python's."""
    number = float(value)
    if math.isnan(number):
        return None
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return int(number) if isinstance(value, int) and not isinstance(value, bool) else number


def from_json_number(value: Json) -> float:
    """The inverse of :func:`json_number`."""
    if value is None:
        return math.nan
    return float(value)  # type: ignore[arg-type]
