"""Draws inside a record, each of which is a record (``samples: [{output, score}, ...]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keyturn.rollouts.readers.columns import KNOWN
from keyturn.rollouts.readers.layouts.contract import Layout
from keyturn.rollouts.readers.messages import said
from keyturn.rollouts.readers.records import Record

_NO_DRAWS = frozenset({*KNOWN["prompt"], "messages", "completion", "tools", "tool_calls", "traces"})
_BESIDE = tuple(name for purpose in ("success", "truncated") for name in KNOWN[purpose] if "." not in name)
"""Columns besides the list of draws that may hold one entry per draw."""
_FLAT = tuple(name for name in KNOWN["completion"] if "." not in name)


def _holds_draws(row: Record) -> bool:
    return any(_are_draws(row, key) for key in row)


def _apart(rows: Sequence[Record]) -> Sequence[Record]:
    """One record per draw, from draws inside records, each with the shared columns."""
    name = next(key for row in rows for key in row if _are_draws(row, key))
    out: list[Record] = []
    for row in rows:
        shared = {key: value for key, value in row.items() if key != name}
        inner = row.get(name)
        draws = inner if isinstance(inner, list) else []
        beside = [key for key in _BESIDE if isinstance(row.get(key), list) and len(row[key]) == len(draws) > 1]
        for place, draw in enumerate(draws):
            own = draw if isinstance(draw, Mapping) else {}
            out.append({**shared, **{key: row[key][place] for key in beside}, **own})
        if not draws:
            out.append({**shared, name: None})
    return out


def _are_draws(row: Record, key: str) -> bool:
    value = row[key]
    if key in _NO_DRAWS or not isinstance(value, list) or not value:
        return False
    if any(said(row.get(other)) for other in _FLAT if other != key):
        return False
    draws = [one for one in value if one is not None]  # a draw that failed may be null
    return bool(draws) and all(
        isinstance(one, Mapping)
        and not {"role", "from", "type"} & set(one)
        and any(isinstance(one.get(name), str) for name in _FLAT)
        for one in draws
    )


NESTED_DRAWS = Layout(
    summary="any tool: the draws of a problem are records inside one record, beside what all of them share",
    recognises=_holds_draws,
    plain=_apart,
)
