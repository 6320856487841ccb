"""Samples of lm-eval: the filters of a task, and log-likelihoods instead of texts.

- Before 0.4.7 the filters of a task follow one another, and no column names them.
- For likelihoods, ``resps`` holds pairs of a log-likelihood and a truth value, and no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from keyturn.rollouts.readers.layouts.contract import Layout
from keyturn.rollouts.readers.records import Record


def _is_sample(row: Record) -> bool:
    return "resps" in row and "doc_id" in row


def _plain(rows: Sequence[Record]) -> Sequence[Record]:
    return _filters([_texts_only(row) for row in rows])


def _filters(rows: Sequence[Record]) -> Sequence[Record]:
    """Rows of lm-eval with a name for a filter that the file does not name."""
    if any("filter" in row for row in rows):
        return rows
    seen: Counter[str] = Counter()
    named: list[Record] = []
    for row in rows:
        key = repr((row.get("task"), row.get("doc_id"), row.get("doc_hash")))
        seen[key] += 1
        named.append({**row, "filter": f"unnamed-{seen[key]}"})
    return named if max(seen.values()) > 1 else rows


def _texts_only(row: Record) -> Record:
    """A row of lm-eval without its log-likelihoods."""
    resps = row.get("resps")
    pair = resps
    while isinstance(pair, list) and pair and isinstance(pair[0], list):
        pair = pair[0]
    if isinstance(pair, list) and len(pair) == 2 and str(pair[1]) in ("True", "False") and _is_number(pair[0]):
        return {**row, "resps": None}
    return row


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


FILTERS = Layout(
    summary="lm-eval: the filters of a task get names, and log-likelihoods are no completions",
    recognises=_is_sample,
    plain=_plain,
)
