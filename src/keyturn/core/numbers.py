"""Numbers as text: one minus sign, one word for undefined, one form of intervals."""

from __future__ import annotations

import math

from keyturn.core.measurement import Estimate

UNDEFINED = "n/a"
MINUS = "\u2212"


def number(value: float, *, digits: int = 2, signed: bool = False, small: bool = False) -> str:
    """A plain number with a fixed count of decimals.

    Args:
        value: any number; NaN is shown as undefined, an infinite one as infinite.
        digits: number of decimals.
        signed: show the plus sign of a positive number.
        small: keep one significant digit of a number that would be rounded to 0.
    """
    value = float(value)
    if math.isnan(value):
        return UNDEFINED
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    size = abs(value)
    if math.isinf(size):
        return f"{sign}\u221e"
    if size >= 1e6 or (small and 0 < size < 1e-4):
        return sign + scientific(size)
    if small and 0 < size < 0.5 * 10**-digits:
        digits = math.ceil(-math.log10(size))
    shown = f"{size:,.{digits}f}"
    return shown if not float(shown.replace(",", "")) else sign + shown


def scientific(size: float) -> str:
    """A positive number as ``1.2e-6``; an integer mantissa has no decimals."""
    mantissa, exponent = f"{size:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", MINUS)


def whole(value: float) -> str:
    """A count with separated thousands; infinite and undefined as words."""
    value = float(value)
    if not math.isfinite(value):
        return number(value)
    return (MINUS if value < 0 else "") + f"{abs(round(value)):,}"


def counted(count: float, noun: str) -> str:
    """A count with its noun: ``1 draw``, ``64 draws``."""
    return f"{whole(count)} {noun}{'' if count == 1 else 's'}"


def estimate(found: Estimate | None, *, digits: int = 2, signed: bool = False, small: bool = False) -> str:
    """``+0.19 [+0.12, +0.26]``; without interval if there is none."""
    if found is None or math.isnan(found.value):
        return UNDEFINED
    shown = number(found.value, digits=digits, signed=signed, small=small)
    if math.isnan(found.low) or math.isnan(found.high):
        return shown
    low, high = (number(end, digits=digits, signed=signed, small=small) for end in (found.low, found.high))
    return f"{shown} [{low}, {high}]"


def parted(shown: str) -> tuple[str, str]:
    """The value and the interval in a text of :func:`estimate`, to place them below each other."""
    value, bracket, rest = shown.partition(" [")
    return value, bracket.strip() + rest


def seconds(value: float) -> str:
    """A duration: ``0.4 s``, ``48 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if not math.isfinite(value) or value < 0:
        return UNDEFINED
    if value < 9.95:
        return f"{value:.1f} s"
    total = round(value)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"
