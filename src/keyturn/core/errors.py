"""Errors that a user sees: one line with the fault, one with the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KeyturnError(Exception):
    """A failure that the user can fix. The command line prints it without a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} (fix: {self.fix})" if self.fix else self.what


class UsageError(KeyturnError):
    """The call itself is wrong: an unknown name or field, a missing file, values that exclude each other."""

    exit_code = 2


class InputError(KeyturnError):
    """A file, a model or a data set was read and has wrong content."""


class StorageError(KeyturnError):
    """Reading or writing a run directory failed: disk full, read-only, damaged, newer schema."""


class NewerError(StorageError):
    """A document was written by a newer keyturn. It is not damaged, so it is neither set aside nor made
    again."""


class BusyError(KeyturnError):
    """Another running process works on the same run directory."""


class NumericsError(KeyturnError):
    """Training met non-finite losses or gradients too often to go on."""


class MissingExtraError(KeyturnError):
    """An optional package is needed but not installed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name, with near matches.

    Args:
        kind: what was looked up, e.g. ``"objective"``.
        name: what the user wrote.
        known: the valid names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:  # what is much farther than the nearest was not meant
        nearest = difflib.SequenceMatcher(None, near[0], name).ratio()
        near = difflib.get_close_matches(name, names, n=3, cutoff=max(0.5, nearest - 0.3))
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} {name!r}", fix=hint)
