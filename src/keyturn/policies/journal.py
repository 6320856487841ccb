"""A JSON-lines file of finished pieces of work, so that an interrupted run repeats none of them."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyturn.core.jsonl import append_jsonl, read_jsonl


class Journal:
    """Rows by key, appended one by one from any thread; an incomplete last line is ignored.

    Args:
        path: the file, or None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {}
        for row in read_jsonl(path) if path is not None else []:
            self._rows[str(row.pop("key", ""))] = row

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a key; None where there is none yet."""
        return self._rows.get(key)

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Write a whole row to the file before any caller relies on it."""
        plain = _plain(row)
        with self._lock:
            if self._path is not None:
                append_jsonl(self._path, {"key": key, **plain})
            self._rows[key] = json.loads(json.dumps(plain))


def _plain(value: Any) -> Any:
    """Replace NaN by null at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
