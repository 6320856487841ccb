"""Records to rows: one row per draw, parallel lists split by draw, and draws without text counted as
ungraded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from keyturn.core.errors import InputError
from keyturn.rollouts.readers.messages import Said, as_text, said
from keyturn.rollouts.readers.records import Record
from keyturn.rollouts.readers.resolve import Resolved
from keyturn.rollouts.readers.values import alternatives, as_gold, composed, is_cut, key_of, verdict_of
from keyturn.rollouts.readers.which_problem import Asked

Cell = Mapping[str, str | int]


@dataclass(kw_only=True)
class RowsRead:
    """Rows of a file that is being read; every list has one entry per row."""

    record: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    success: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    number: list[Any] = field(default_factory=list)
    shared: int = 0
    """Number of texts that share a verdict with others."""
    silent: int = 0
    """Number of draws without a completion, in a file that has completions."""

    @staticmethod
    def of_counts(record: NDArray[np.int64], success: NDArray[np.float32]) -> RowsRead:
        """Rows with verdicts only."""
        size = len(record)
        return RowsRead(
            record=record.tolist(),
            texts=[""] * size,
            final=[""] * size,
            answered=[False] * size,
            success=success.tolist(),
            verified=[math.nan] * size,
            answer=[""] * size,
            truncated=[False] * size,
            number=in_order([str(place) for place in record.tolist()]),
        )

    def leave_out(self, rows: Sequence[int]) -> None:
        """Remove some rows."""
        gone = set(rows)
        for name in (
            "record",
            "texts",
            "final",
            "answered",
            "success",
            "verified",
            "answer",
            "truncated",
            "number",
        ):
            kept = [value for row, value in enumerate(getattr(self, name)) if row not in gone]
            setattr(self, name, kept)


def draw_rows(path: Path, rows: Sequence[Record], found: Resolved, success_at: float) -> RowsRead:
    """Every draw of every record.

    Raises:
        InputError: a completion is not text, or a verdict is not one.
    """
    drawn = RowsRead()
    for place, row in enumerate(rows):
        _add(drawn, f"{path}, record {place + 1}", place, row, found, success_at)
    if found.names["completion"] and not any(drawn.answered):
        raise InputError(
            f"{path}, record 1: {found.names['completion']!r} holds no text",
            fix="name another column: --columns.completion NAME",
        )
    return drawn


def _add(drawn: RowsRead, where: str, place: int, row: Record, found: Resolved, success_at: float) -> None:
    """Add one record: one draw, or several if it holds lists."""
    verdicts = found.get(row, "success")
    draws: Sequence[Said | None]
    if found.names["completion"]:
        value = found.get(row, "completion")
        draws = said(value) or [None]
        if draws == [None] and not _empty(value):
            raise InputError(
                f"{where}: {found.names['completion']!r} holds no text",
                fix="name another column: --columns.completion NAME",
            )
    else:
        draws = [None] * (len(verdicts) if _is_list(verdicts) else 1)
    count = len(draws)
    success = _per_draw(verdicts, count)
    if success is None:
        # One verdict for several texts (a mean, a majority) says nothing about any single one.
        drawn.shared += count
        success = [None] * count
    verified = _per_draw(found.get(row, "verified"), count) or [None] * count
    answers = _per_draw(found.get(row, "answer"), count) or [None] * count
    cut = found.each(row, "truncated")
    cuts = _per_draw(cut, count) or [cut if count == 1 else None] * count
    numbers = _per_draw(found.get(row, "draw"), count) or [None] * count
    for draw, verdict, trace, answer, stopped, number in zip(
        draws, success, verified, answers, cuts, numbers, strict=True
    ):
        failed = draw is None or (not draw.text and bool(row.get("error")))
        silent = failed and bool(found.names["completion"])
        drawn.silent += silent
        drawn.record.append(place)
        drawn.texts.append("" if draw is None else draw.text)
        drawn.final.append("" if draw is None else draw.last)
        drawn.answered.append(not failed)
        drawn.success.append(math.nan if silent else verdict_of(where, verdict, success_at))
        drawn.verified.append(math.nan if silent else verdict_of(where, trace, math.nan))
        drawn.answer.append(as_gold(alternatives(answer)[0]))
        drawn.truncated.append(is_cut(stopped))
        drawn.number.append(number)


def asked_of(row: Record, found: Resolved) -> Asked:
    """The problem of a record."""
    golds = dict.fromkeys(gold for one in alternatives(found.get(row, "gold")) if (gold := as_gold(one)))
    return Asked(
        id=_identity(found.get(row, "problem")),
        prompt=as_text(found.get(row, "prompt")) or "",
        golds=tuple(golds),
    )


def _identity(value: Any) -> str | None:
    """The id of a problem, in Unicode form NFC."""
    if isinstance(value, tuple):
        parts = [_identity(part) for part in value]
        return (
            None
            if any(part is None for part in parts)
            else " ".join(part for part in parts if part is not None)
        )
    key = key_of(value)
    return key if key is None else composed(key)


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | tuple)


def _empty(value: Any) -> bool:
    """Whether a field means "no completion", as opposed to a value that is not text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, Mapping):
        return True  # a message without content
    return _is_list(value) and all(_empty(one) for one in value)


def _per_draw(value: Any, count: int) -> Sequence[Any] | None:
    """One value per draw; None if the number of values differs from the number of draws."""
    values = value if _is_list(value) else [value]
    while len(values) == 1 and _is_list(values[0]) and count > 1:
        values = values[0]
    if count == 1 and _is_list(value) and len(value) > 1:
        return None
    if len(values) == count:
        return values
    return [None] * count if value is None else None


def in_order(keys: Sequence[str]) -> list[int]:
    """The number of each row within its problem."""
    following: dict[str, int] = defaultdict(int)
    numbers = []
    for key in keys:
        numbers.append(following[key])
        following[key] += 1
    return numbers
