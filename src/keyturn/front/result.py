"""What ``keyturn.audit`` returns: an audit's record that can show itself as text, a data frame or a page."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyturn.auditing.result import AuditResult
from keyturn.core.errors import UsageError
from keyturn.core.extras import need
from keyturn.core.measurement import Measurement
from keyturn.core.numbers import counted
from keyturn.core.text import one_line, visible
from keyturn.report import notebook_html, write_report
from keyturn.report.summary import facts

if TYPE_CHECKING:
    import pandas

NOT_KEPT = "not kept: the audit had no run directory"
"""Replaces the run directory of an audit that had a temporary one."""

_SHOWN = 60
"""Maximum number of characters of an argument in the call that a report shows."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Audit(AuditResult):
    """The complete result of one audit: ``.verdict``, ``.measurements``, ``.cells``, and the other fields of
    :class:`~keyturn.auditing.result.AuditResult`.

    Args:
        call: the call that made it, for its report.
        wall_s: wall seconds of the call.
    """

    call: str = ""
    wall_s: float = 0.0

    @classmethod
    def of(cls, found: AuditResult, *, call: str, wall_s: float, kept: bool) -> Audit:
        """The same audit as an :class:`Audit`.

        Args:
            found: what was measured.
            call: the call that made it.
            wall_s: wall seconds of the call.
            kept: whether its run directory is kept.
        """
        known = {field.name: getattr(found, field.name) for field in fields(AuditResult)}
        if not kept:
            known["run"] = NOT_KEPT
        return cls(**known, call=call, wall_s=wall_s)

    def report(self, path: str | Path | None = None, *, command: str = "") -> Path:
        """Write the HTML report: one file that opens from disk and loads nothing else.

        Args:
            path: path of the file; ``report.html`` in the run directory by default. If the path is a folder,
                the file gets that name in it.
            command: the command that made the audit; the call by default.

        Returns:
            The absolute path of the file.

        Raises:
            UsageError: no path was given, and the audit had no run directory.
            StorageError: the file cannot be written.
        """
        if path is None and self.run == NOT_KEPT:
            raise UsageError("the audit has no run directory to write into", fix="report('report.html')")
        place = Path(self.run if path is None else path).expanduser()
        if place.is_dir() or path is None:
            place /= "report.html"
        return write_report([self], place, command=command or self.call, seconds=self.wall_s)

    def to_frame(self) -> pandas.DataFrame:
        """The measurements as a pandas data frame, one row per measurement.

        Columns: ``name value low high n unit null_kind null_value null_low null_high note``, then one for every
        parameter that distinguishes measurements of the same name (``policy``, ``k``, ``cell``...). It is
        missing where a measurement does not have that parameter. Undefined values are NaN.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        frames = need("pandas", "a data frame")
        rows = [_row(one) for one in self.measurements]
        first = list(_row(Measurement(name="", value=0.0, n=0, unit="")))
        names = dict.fromkeys([*first, *(key for row in rows for key in row)])
        return frames.DataFrame({name: [row.get(name) for row in rows] for name in names})

    def __repr__(self) -> str:
        told = ", ".join(f"{fact.name} {fact.value}" for fact in facts(self)[:2])
        verdict = self.verdict
        return (
            f"Audit({one_line(self.name, _SHOWN)}: {verdict.label} at K = {verdict.k}; {told}; "
            f"{counted(verdict.problems, 'problem')}, {counted(len(self.measurements), 'measurement')})"
        )

    def _repr_html_(self) -> str:
        return notebook_html(self)


def _row(one: Measurement) -> dict[str, Any]:
    null = one.null
    return {
        "name": one.name,
        "value": float(one.value),
        "low": float(one.low),
        "high": float(one.high),
        "n": int(one.n),
        "unit": one.unit,
        "null_kind": None if null is None else null.kind,
        "null_value": float("nan") if null is None else float(null.value),
        "null_low": float("nan") if null is None else float(null.low),
        "null_high": float("nan") if null is None else float(null.high),
        "note": one.note,
        **one.parameters,
    }


def _kind(value: Any) -> str:
    """The type of an object, in angle brackets; for a pair, the types of both."""
    if isinstance(value, tuple) and len(value) == 2:
        return f"({', '.join(map(_kind, value))})"
    return f"<{type(value).__name__}>"


def called(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """The call as text, with the arguments that differ from the defaults. An object is shown as its type."""
    parts: list[str] = []
    in_place = True
    for key, parameter in inspect.signature(function).parameters.items():
        value = given.get(key, parameter.default)
        plain = isinstance(value, str | Path | int | float | bool)
        if value is parameter.default or (plain and value == parameter.default):
            in_place = False
            continue
        if plain:
            shown = visible(repr(str(value) if isinstance(value, Path) else value))
        else:
            shown = one_line(_kind(value), _SHOWN)
        in_place = in_place and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        parts.append(shown if in_place else f"{key}={shown}")
    return f"{name}({', '.join(parts)})"
