"""Everything measured, family by family: the numbers behind the figures and those without one."""

from __future__ import annotations

import math

from keyturn.core.measurement import Estimate, Measurement
from keyturn.report.lookup import parameter_words
from keyturn.report.numbers import UNDEFINED, estimate, number, whole
from keyturn.report.reading import family, reading
from keyturn.report.sections.contract import Listing, Section
from keyturn.report.tables import Table
from keyturn.studies.result import AuditResult

ROWS = 400
"""Rows of a listing; the JSON document has all of them."""


def everything(result: AuditResult, prefix: str) -> Section:
    """All measurements, and the measures that were left out."""
    by_family: dict[str, list[Measurement]] = {}
    for measured in result.measurements:
        by_family.setdefault(family(measured.name), []).append(measured)
    left_out = tuple(f"Left out: {name} ({why})." for name, why in result.left_out.items())
    return Section(
        id=f"{prefix}-everything",
        title="Everything measured",
        says=left_out,
        listings=tuple(_listing(name, rows) for name, rows in by_family.items()),
        absent="" if by_family or left_out else "Nothing was measured.",
    )


def _listing(name: str, rows: list[Measurement]) -> Listing:
    shown = rows[:ROWS]
    more = f" (the first {ROWS} of {len(rows)})" if len(rows) > ROWS else ""
    names = list(dict.fromkeys(m.name for m in rows))
    return Listing(
        title=f"{name} ({whole(len(rows))})",
        table=Table(
            caption=f"{name}: every measurement{more}",
            header=("name", "of", "value [95 % interval]", "unit", "n", "null"),
            rows=tuple(
                (
                    m.name,
                    parameter_words(m),
                    estimate(Estimate(m.value, m.low, m.high), digits=4, small=True),
                    m.unit,
                    whole(m.n),
                    _null(m),
                )
                for m in shown
            ),
            words=frozenset({0, 1, 3, 5}),
        ),
        readings=tuple((one, reading(one)) for one in names if reading(one)),
    )


def _null(measured: Measurement) -> str:
    null = measured.null
    if null is None:
        return ""
    if math.isnan(null.value) and math.isnan(null.low):
        return null.kind
    spread = (
        ""
        if math.isnan(null.low)
        else f" ({number(null.low, digits=4, small=True)} to {number(null.high, digits=4, small=True)})"
    )
    value = UNDEFINED if math.isnan(null.value) else number(null.value, digits=4, small=True)
    return f"{value}{spread}, {null.kind}"
