"""Scales and the plain frame around a plot: few grid lines, horizontal labels, no boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keyturn.core.numbers import number
from keyturn.report.svg import label, line


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A map from data to user units.

    Args:
        low, high: ends of the data; if they are equal, they are moved apart.
        start, stop: positions at which the ends are drawn.
        base: base of a logarithmic scale, 0 for a linear one.
    """

    low: float
    high: float
    start: float
    stop: float
    base: float = 0.0

    def __call__(self, value: float) -> float:
        """Position of a value, clipped to the ends; NaN for NaN and for a value that has no logarithm."""
        if math.isnan(value) or (self.base and value <= 0 and not math.isinf(value)):
            return math.nan
        value = min(max(value, self.low), self.high)
        low, high = self._f(self.low), self._f(self.high)
        return self.start + (self._f(value) - low) / (high - low) * (self.stop - self.start)

    def _f(self, value: float) -> float:
        return math.log(value, self.base) if self.base else value

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round numbers within the ends: powers of the base, or about five steps of 1, 2 or 5."""
        if self.base:
            first, last = math.ceil(self._f(self.low) - 1e-9), math.floor(self._f(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / max(2, abs(self.stop - self.start) / 28)))
            return tuple(self.base**power for power in range(first, last + 1, step))
        step = _step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(i * step for i in range(first, last + 1))


def linear(values: Sequence[float], start: float, stop: float, *, include: Sequence[float] = ()) -> Scale:
    """A linear scale over the finite values, with ends rounded outward to half a tick."""
    seen = [v for v in (*values, *include) if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(seen), max(seen)
    low, high = apart(low, high)
    half = _step((high - low) / 5) / 2
    return Scale(
        low=math.floor(low / half + 1e-9) * half,
        high=math.ceil(high / half - 1e-9) * half,
        start=start,
        stop=stop,
    )


def apart(low: float, high: float) -> tuple[float, float]:
    """Ends that differ: nearly equal ones are moved apart by half of their size, or by 1/2 near 0."""
    if high - low > 1e-12 * max(abs(low), abs(high), 1e-200):
        return low, high
    pad = abs(low) / 2 if abs(low) > 1e-9 else 0.5
    # Data that are never negative get no axis below 0.
    return (low - pad if low < 0 else max(0.0, low - pad)), high + pad


def unit(start: float, stop: float) -> Scale:
    """A scale for probabilities and shares, always 0 to 1, so that figures can be compared."""
    return Scale(low=0.0, high=1.0, start=start, stop=stop)


def logarithmic(values: Sequence[float], start: float, stop: float, *, base: float = 2.0) -> Scale:
    """A logarithmic scale over the positive finite values."""
    seen = [v for v in values if math.isfinite(v) and v > 0] or [1.0, base]
    low, high = min(seen), max(seen)
    return Scale(low=low, high=high if high > low else low * base, start=start, stop=stop, base=base)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The plotting area: ``left`` to ``right`` and ``top`` (small) to ``bottom`` (large)."""

    left: float
    right: float
    top: float
    bottom: float
    lift: float = 14.0
    """Distance of the y axis's title above the plot."""

    def x_axis(
        self, scale: Scale, words: str, *, digits: int | None = None, grid: bool = False
    ) -> Iterator[Markup]:
        """Line, ticks and title below the plot."""
        yield line((self.left, self.bottom), (self.right, self.bottom), "axis")
        names = tick_names(scale.ticks, digits)
        for tick, name in zip(scale.ticks, names, strict=True):
            x = scale(tick)
            yield line((x, self.top if grid else self.bottom), (x, self.bottom + 4), "grid" if grid else "axis")
            yield label((x, self.bottom + 17), name, "tick", "middle")
        yield label((self.right, self.bottom + 35), words, "words", "end")

    def y_axis(self, scale: Scale, words: str, *, digits: int | None = None) -> Iterator[Markup]:
        """Grid lines with their numbers at the left, and the title above the plot."""
        for tick, name in zip(scale.ticks, tick_names(scale.ticks, digits), strict=True):
            y = scale(tick)
            yield line((self.left, y), (self.right, y), "grid")
            yield label((self.left - 7, y + 4), name, "tick", "end")
        yield label((self.left - 7 if self.left < 30 else 0, self.top - self.lift), words, "words")


def tick_names(ticks: Sequence[float], digits: int | None = None) -> list[str]:
    """Numbers with just enough decimals to tell the ticks apart."""
    if digits is None:
        step = min((abs(b - a) for a, b in itertools.pairwise(ticks)), default=1.0)
        digits = 0 if step >= 1 else min(6, math.ceil(-math.log10(step) - 1e-9))
    return [number(0.0 if abs(tick) < 1e-12 else tick, digits=digits) for tick in ticks]


def _step(rough: float) -> float:
    """The smallest number of the form 1, 2 or 5 times a power of ten that is not smaller."""
    power = 10 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
