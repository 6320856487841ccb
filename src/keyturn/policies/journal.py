"""A JSON-lines file of finished pieces of work, so that an interrupted run asks for none of them twice."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from keyturn.core.rundir import storage, write_bytes


class Journal:
    """Rows by key, appended one by one from any thread; a torn last line is cut off.

    Args:
        path: the file, or None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {}
        self._stream: TextIO | None = None
        if path is None or not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_bytes(path, whole)
        for line in whole.splitlines():
            row = json.loads(line)
            self._rows[row.pop("key")] = row

    def __enter__(self) -> Journal:
        if self._path is not None:
            with storage(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def get(self, key: str) -> dict[str, Any] | None:
        """The row of a key, None where it is not there yet."""
        return self._rows.get(key)

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Write a row down, whole, before anybody relies on it."""
        line = json.dumps({"key": key, **_plain(row)}, allow_nan=False)
        with self._lock:
            self._rows[key] = json.loads(line)
            if self._stream is not None and self._path is not None:
                with storage(self._path):
                    self._stream.write(line + "\n")
                    self._stream.flush()


def _plain(value: Any) -> Any:
    """NaN as null, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
