"""The contract of a layout: how to recognise a tool's records, and how to turn them into plain ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyturn.rollouts.readers.records import Record


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way to write samples for which names of columns are not enough. Values live in ``layouts.LAYOUTS``.

    Args:
        summary: the tool that writes it, and what is special about it.
        recognises: ``(record) -> bool``: whether a record has this layout, by its content alone.
        plain: ``(records) -> records``: one plain record for each draw, with columns whose names are known
            (``columns.KNOWN``). It gets all records of a file in which some were recognised; others pass
            unchanged.
    """

    summary: str
    recognises: Callable[[Record], bool]
    plain: Callable[[Sequence[Record]], Sequence[Record]]
