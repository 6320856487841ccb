"""The Parquet store of completions and grades, one file per part.

A part is written completely or not at all (under another name, then renamed), so a crash loses only the part
that was being written. A part is one *main* table, ``completions-00003.parquet``, and zero or more *side*
tables, ``completions-00003.prompts.parquet``, written before it. The main table's metadata holds the hashes of
its side tables, so a crash between the two, or a flipped byte, is noticed and named. Other files in the folder
are left alone. Token ids are stored besides the text, so nothing is lost if text cannot be stored exactly: a
lone surrogate, for which UTF-8 has no bytes, is replaced by U+FFFD and its row is flagged in the column
``text_replaced``.

The tables are plain Arrow (DuckDB, Polars, pandas and Hugging Face ``datasets`` read them):

* completions: ``problem_id, problem, draw, stop, text, text_replaced, tokens, logprobs, entropies``
* completions.prompts: ``problem_id, text, text_replaced, tokens``
* grades: ``outcome, verified, answer, column.*``; grades.tokens: ``role, column.*``, one row per token
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from keyturn.core.errors import NewerError, StorageError
from keyturn.core.rundir import is_done, storage_errors, write_bytes
from keyturn.rollouts.arrow import (
    bare,
    decode,
    encode,
    flat,
    lists,
    numbers,
    prefixed,
    read_parquet,
    stack,
    strings,
)
from keyturn.rollouts.completions import Completions, Prompts
from keyturn.rollouts.grades import Grades

SCHEMA = 1
"""Version of the tables; a newer one is refused."""

_META = b"keyturn"


def write_completions(folder: Path, part: int, completions: Completions) -> Path:
    """Write one part of completions; a part of the same number is replaced.

    Args:
        folder: folder of the parts; made if absent.
        part: number of the part, from 0; reading joins parts in this order.
        completions: the completions.

    Returns:
        The path of the main table.

    Raises:
        StorageError: disk full or not allowed.
    """
    prompts = completions.prompts
    ids, _ = strings(prompts.ids)
    texts, replaced = strings(prompts.texts)
    side = pa.table(
        {
            "problem_id": ids,
            "text": texts,
            "text_replaced": replaced,
            "tokens": lists(prompts.offsets, prompts.tokens),
        }
    )
    texts, replaced = strings(completions.texts)
    names = pa.DictionaryArray.from_arrays(pa.array(completions.problem, pa.int32()), ids)
    main = pa.table(
        {
            "problem_id": names,
            "problem": pa.array(completions.problem, pa.int32()),
            "draw": pa.array(completions.draw, pa.int32()),
            "stop": pa.array(completions.stop, pa.uint8()),
            "text": texts,
            "text_replaced": replaced,
            "tokens": lists(completions.offsets, completions.tokens),
            "logprobs": lists(completions.offsets, completions.logprobs),
            "entropies": lists(completions.offsets, completions.entropies),
        }
    )
    policy = strings([completions.policy])[0][0].as_py()
    return _write(folder, "completions", part, main, {"prompts": side}, {"policy": policy})


def read_completions(folder: Path, parts: Sequence[int] | None = None) -> Completions:
    """Read parts of completions and join them in the order of their numbers.

    Prompts of the parts are joined in the order of their first appearance.

    Args:
        folder: folder of the parts.
        parts: numbers of the parts; all by default.

    Raises:
        StorageError: there is no part, a part is damaged or has a newer schema, or parts have several policies.
    """
    read = [_read_completions(folder, part) for part in _chosen(folder, "completions", parts)]
    if len(read) == 1:
        return read[0]
    policies = sorted({part.policy for part in read})
    if len(policies) > 1:
        raise StorageError(
            f"{folder} holds completions of {len(policies)} policies ({', '.join(policies[:4])})",
            fix="read them one part at a time with read_completions(folder, [part])",
        )
    prompts = _join_prompts(folder, [part.prompts for part in read])
    return Completions.concat([part.onto(prompts) for part in read])


def completion_parts(folder: Path) -> tuple[int, ...]:
    """Numbers of the completion parts in a folder, ascending."""
    return _parts(folder, "completions")


def write_grades(folder: Path, part: int, grades: Grades) -> Path:
    """Write one part of grades, in the row order of the graded completions."""
    columns = {"outcome": grades.outcome, "verified": grades.verified, **prefixed(grades.columns)}
    arrays, kinds = encode(columns)
    arrays["answer"], _ = strings(grades.answer)
    tokens = {} if grades.roles is None else {"role": grades.roles}
    tokens.update(prefixed(grades.token_columns))
    sides: dict[str, pa.Table] = {}
    if tokens:
        encoded, token_kinds = encode(tokens)
        sides["tokens"] = pa.table(encoded)
        kinds = {**kinds, **{f"tokens/{name}": kind for name, kind in token_kinds.items()}}
    return _write(folder, "grades", part, pa.table(arrays), sides, {"kinds": kinds})


def read_grades(folder: Path, parts: Sequence[int] | None = None) -> Grades:
    """Read parts of grades and join them in the order of their numbers.

    Raises:
        StorageError: there is no part, a part is damaged or has a newer schema, or parts have different
        columns.
    """
    mains: list[dict[str, NDArray]] = []
    tokens: list[dict[str, NDArray]] = []
    answers: list[str] = []
    for part in _chosen(folder, "grades", parts):
        table, sides, meta = _read(folder, "grades", part)
        answers.extend(table.column("answer").to_pylist())
        mains.append(decode(table.drop_columns(["answer"]), meta["kinds"]))
        side = sides.get("tokens")
        kinds = {k.removeprefix("tokens/"): v for k, v in meta["kinds"].items() if k.startswith("tokens/")}
        tokens.append({} if side is None else decode(side, kinds))
    main, token = stack(folder, mains), stack(folder, tokens)
    return Grades(
        outcome=main.pop("outcome"),
        verified=main.pop("verified"),
        answer=tuple(answers),
        columns=bare(main),
        roles=token.pop("role", None),
        token_columns=bare(token),
    )


def _read_completions(folder: Path, part: int) -> Completions:
    table, sides, meta = _read(folder, "completions", part)
    side = sides["prompts"]
    offsets, tokens = flat(side, "tokens", np.int32)
    prompts = Prompts(
        ids=tuple(side.column("problem_id").to_pylist()),
        tokens=tokens,
        offsets=offsets,
        texts=tuple(side.column("text").to_pylist()),
    )
    offsets, tokens = flat(table, "tokens", np.int32)
    return Completions(
        policy=meta["policy"],
        prompts=prompts,
        problem=numbers(table, "problem", np.int32),
        draw=numbers(table, "draw", np.int32),
        tokens=tokens,
        offsets=offsets,
        logprobs=flat(table, "logprobs", np.float32)[1],
        entropies=flat(table, "entropies", np.float32)[1],
        stop=numbers(table, "stop", np.uint8),
        texts=tuple(table.column("text").to_pylist()),
    )


def _join_prompts(folder: Path, parts: Sequence[Prompts]) -> Prompts:
    """The prompts of several parts, each once; the same id with other tokens is an error."""
    rows: dict[str, NDArray[np.int32]] = {}
    texts: dict[str, str] = {}
    for part in parts:
        for index, identity in enumerate(part.ids):
            row = part.row(index)
            if not np.array_equal(rows.setdefault(identity, row), row):
                raise StorageError(
                    f"{folder}: the parts hold different prompts under the id {identity!r}",
                    fix="read them one part at a time with read_completions(folder, [part])",
                )
            texts.setdefault(identity, part.texts[index])
    lengths = [len(row) for row in rows.values()]
    return Prompts(
        ids=tuple(rows),
        tokens=np.concatenate([np.zeros(0, np.int32), *rows.values()]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        texts=tuple(texts.values()),
    )


def _write(
    folder: Path, kind: str, part: int, main: pa.Table, sides: Mapping[str, pa.Table], meta: Mapping[str, Any]
) -> Path:
    if part < 0:
        raise ValueError(f"parts are numbered from 0, not {part}")
    folder = Path(folder)
    hashes = {}
    for name, table in sides.items():
        data = _parquet(table, {"kind": f"{kind}.{name}"})
        hashes[name] = hashlib.sha256(data).hexdigest()
        write_bytes(folder / f"{kind}-{part:05d}.{name}.parquet", data)
    path = folder / f"{kind}-{part:05d}.parquet"
    write_bytes(path, _parquet(main, {"kind": kind, "sides": hashes, **meta}))
    return path


def _parquet(table: pa.Table, meta: Mapping[str, Any]) -> bytes:
    document = json.dumps({"schema": SCHEMA, **meta})
    table = table.replace_schema_metadata({_META: document.encode()})
    sink = pa.BufferOutputStream()
    text = [field.name for field in table.schema if pa.types.is_large_string(field.type)]
    words = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    # Dictionary pages help repeated strings and ids; floats are stored plainly, so every bit of a NaN stays.
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=text + words,  # type: ignore[arg-type]
        write_page_checksum=True,
    )
    return sink.getvalue().to_pybytes()


def _read(folder: Path, kind: str, part: int) -> tuple[pa.Table, dict[str, pa.Table], dict[str, Any]]:
    path = Path(folder) / f"{kind}-{part:05d}.parquet"
    table, meta = _table(path, path.read_bytes() if path.is_file() else None, kind)
    sides = {}
    for name, digest in meta["sides"].items():
        side = path.with_name(f"{kind}-{part:05d}.{name}.parquet")
        data = side.read_bytes() if side.is_file() else None
        if data is not None and hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(f"{side} is not the file that {path.name} was written with", fix=_again(path))
        sides[name], _ = _table(side, data, f"{kind}.{name}")
    return table, sides, meta


def _table(path: Path, data: bytes | None, kind: str) -> tuple[pa.Table, dict[str, Any]]:
    if data is None:
        raise StorageError(f"{path} is missing", fix=_again(path))
    try:
        table = read_parquet(data)
        meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StorageError(f"{path} is damaged: {str(error).splitlines()[0]}", fix=_again(path)) from error
    if int(meta.get("schema", 0)) > SCHEMA:
        raise NewerError(f"{path} was written by a newer keyturn", fix="upgrade keyturn")
    if meta.get("kind") != kind:
        raise StorageError(f"{path} is not a keyturn table of {kind}", fix="move it out of this folder")
    return table, meta


def _again(path: Path) -> str:
    """The fix for a damaged part: a finished stage is made again only if its folder is removed."""
    run = next((folder for folder in path.parents if is_done(folder)), path.parent)
    return f"remove {run} and run the command that made it again"


def _parts(folder: Path, kind: str) -> tuple[int, ...]:
    name = re.compile(rf"{kind}-(\d{{5,}})\.parquet")
    folder = Path(folder)
    if not folder.is_dir():
        return ()
    with storage_errors(folder):
        found = [(name.fullmatch(path.name), path) for path in folder.iterdir()]
    return tuple(sorted(int(match[1]) for match, path in found if match and path.is_file()))


def _chosen(folder: Path, kind: str, parts: Sequence[int] | None) -> Sequence[int]:
    chosen = _parts(folder, kind) if parts is None else parts
    if not chosen:
        raise StorageError(f"no {kind} in {folder}", fix="check the path, or run the stage that writes them")
    return chosen
