"""Errors that a user sees: one line that says what is wrong, one that names the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KeyturnError(Exception):
    """Something failed in a way that the user can mend. The CLI prints it without a traceback."""

    exit_code = 1

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} (fix: {self.fix})" if self.fix else self.what


class UsageError(KeyturnError):
    """The call itself is off: an unknown name or field, a missing file, values that exclude each other."""

    exit_code = 2


class InputError(KeyturnError):
    """A file, a model or a data set was read and is not what it must be."""


class StorageError(KeyturnError):
    """Reading or writing a run directory failed: disk full, read-only, damaged, newer schema."""


class NewerError(StorageError):
    """A document was written by a newer keyturn: no damage, so nothing is set aside or made again."""


class BusyError(KeyturnError):
    """Another live process works on the same run directory."""


class NumericsError(KeyturnError):
    """Training met non-finite losses or gradients too often to go on."""


class MissingExtraError(KeyturnError):
    """An optional package is needed and not installed."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is in no dictionary, with the near matches.

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
