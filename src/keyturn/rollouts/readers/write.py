"""Samples written under our own column names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from keyturn.core.errors import UsageError
from keyturn.core.rundir import write_bytes
from keyturn.rollouts.arrow import SURROGATE
from keyturn.rollouts.readers.samples import Samples


def write_samples(path: Path, samples: Samples) -> None:
    """Write samples under our own column names; the ending chooses JSONL or Parquet."""
    columns: dict[str, list[Any]] = {
        "problem_id": list(samples.problem),
        "prompt": list(samples.prompts),
        "completion": _completions(samples),
        "draw": samples.draw.tolist(),
        "outcome": [None if math.isnan(value) else float(value) for value in samples.success],
        "verified": [None if math.isnan(value) else float(value) for value in samples.verified],
        "answer": list(samples.answer),
        "gold": _golds(samples),
        "truncated": samples.truncated.tolist(),
        "policy": [samples.policy] * len(samples),
    }
    for name in sorted({key for cell in samples.cells for key in cell} - set(columns)):
        columns[name] = [cell.get(name) for cell in samples.cells]
    if path.name.endswith(".parquet"):
        clean = {name: [_clean(value) for value in column] for name, column in columns.items()}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(clean), sink, compression="zstd")
        write_bytes(path, sink.getvalue().to_pybytes())
        return
    if not path.name.endswith(".jsonl"):
        raise UsageError(f"cannot write {path.name}", fix="name a file that ends in .jsonl or .parquet")
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    write_bytes(path, b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))


def _completions(samples: Samples) -> list[Any]:
    """Texts, or messages if any draw said something before its last message; None without a completion."""
    talks = samples.texts != samples.final
    out: list[Any] = []
    for text, last, answered in zip(samples.texts, samples.final, samples.answered.tolist(), strict=True):
        if not answered:
            out.append(None)
        elif talks:
            before = [] if text == last else [text.removesuffix(f"\n{last}") if last else text]
            out.append([{"role": "assistant", "content": part} for part in (*before, last)])
        else:
            out.append(text)
    return out


def _golds(samples: Samples) -> list[Any]:
    """Texts, or lists of texts if any problem has several gold answers."""
    if not samples.also:
        return list(samples.gold)
    rows = zip(samples.problem, samples.gold, strict=True)
    return [[gold, *samples.also.get(name, ())] for name, gold in rows]


def _clean(value: Any) -> Any:
    """A value without lone surrogates, which Parquet cannot store."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_clean(part) for part in value]
    if isinstance(value, dict):
        return {name: _clean(part) for name, part in value.items()}
    return value
