"""Section with all measurements by family, with and without a figure."""

from __future__ import annotations

from keyturn.auditing.result import AuditResult
from keyturn.core.measurement import Estimate, Measurement
from keyturn.core.numbers import estimate, whole
from keyturn.report.lookup import null_of, parameter_words
from keyturn.report.reading import family, reading
from keyturn.report.sections.contract import Listing, Section
from keyturn.report.tables import Table

ROWS = 400
"""Maximum number of rows of a listing; the JSON document has all of them."""


def everything(result: AuditResult, prefix: str) -> Section:
    """All measurements, and the measures that were left out."""
    by_family: dict[str, list[Measurement]] = {}
    for measured in result.measurements:
        by_family.setdefault(family(measured.name), []).append(measured)
    reasons: dict[str, list[str]] = {}
    for name, why in result.left_out.items():
        reasons.setdefault(why, []).append(name)
    left_out = tuple(f"Left out: {', '.join(names)} ({why})." for why, names in reasons.items())
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
            caption=f"{name}: every measurement{more}, to four decimals",
            header=("name", "of", "value [95 % interval]", "null [its range]", "n", "unit", "the null is"),
            rows=tuple(
                (
                    m.name,
                    parameter_words(m),
                    estimate(Estimate(m.value, m.low, m.high), digits=4, small=True),
                    estimate(null_of(m), digits=4, small=True),
                    whole(m.n),
                    m.unit,
                    "" if m.null is None else m.null.kind,
                )
                for m in shown
            ),
            words=frozenset({0, 1, 5, 6}),
        ),
        readings=tuple((one, reading(one)) for one in names if reading(one)),
    )
