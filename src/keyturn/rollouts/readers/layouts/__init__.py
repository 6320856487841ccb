"""Layouts that need more than names of columns, recognised by content and turned into plain records."""

from __future__ import annotations

from collections.abc import Sequence

from keyturn.rollouts.readers.layouts.contract import Layout
from keyturn.rollouts.readers.layouts.lm_eval import FILTERS
from keyturn.rollouts.readers.layouts.nested_draws import NESTED_DRAWS
from keyturn.rollouts.readers.layouts.verifiers import FAILED_ROLLOUTS, TRACES
from keyturn.rollouts.readers.records import Record

LAYOUTS: dict[str, Layout] = {
    "verifiers traces": TRACES,
    "lm-eval filters": FILTERS,
    "verifiers failures": FAILED_ROLLOUTS,
    "nested draws": NESTED_DRAWS,
}
"""Name -> layout, in the order in which they are tried; each gets the result of those before it."""

LOOKED_AT = 20
"""Number of records at the head of a file in which a layout is looked for."""


def plain_rows(rows: Sequence[Record]) -> Sequence[Record]:
    """Records for which names of columns are enough; most files pass unchanged."""
    for layout in LAYOUTS.values():
        if any(layout.recognises(row) for row in rows[:LOOKED_AT]):
            rows = layout.plain(rows)
    return rows
