"""The contract of a layout: how to recognise a tool's records, and how to turn them into plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyturn.rollouts.readers.records import Record


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to write samples for which names of columns are not enough. Values live in ``layouts.LAYOUTS``.

    Args:
        summary: which tool writes it, and what is special about it.
        recognises: ``(record) -> bool``: whether a record is of this layout, by its content alone.
        plain: ``(records) -> records``: one plain record for each draw, with columns whose names are known
            (``columns.KNOWN``). It sees all records of a file of which some were recognised; those that are not
            of this layout pass as they are.
    """

    summary: str
    recognises: Callable[[Record], bool]
    plain: Callable[[Sequence[Record]], Sequence[Record]]
