"""Live display of the reward curve: a bar with a sparkline on a terminal, otherwise an occasional plain
line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from keyturn.core.progress import progress

__uncounted__ = ("live",)
"""The display changes no result, so it does not count as part of its code (:mod:`keyturn.core.definitions`)."""

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 24


class Show(Protocol):
    """Gets every step's metrics."""

    def __call__(self, row: Mapping[str, float]) -> None:
        """One step is done."""
        ...


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """A curve in one line of text: at most ``width`` means of neighbouring values, from lowest to highest."""
    if not values:
        return ""
    size = -(-len(values) // width)
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    if high == low:
        return _BARS[0] * len(means)
    return "".join(_BARS[round((m - low) / (high - low) * (len(_BARS) - 1))] for m in means)


@contextlib.contextmanager
def live(label: str, steps: int, earlier: Sequence[Mapping[str, float]] = ()) -> Iterator[Show]:
    """Show a run on stderr while it goes; the block gets what to call after every step.

    Args:
        label: what is being trained.
        steps: how many there are in all.
        earlier: metrics of the steps before an interruption.
    """
    rewards: list[float] = []
    latest: dict[str, float] = {}

    def take(row: Mapping[str, float]) -> None:
        latest.update(row)
        if "reward" in row:
            rewards.append(row["reward"])

    def note() -> str:
        words = [sparkline(rewards)]
        if rewards:
            words.append(f"reward {_recent(rewards):.2f} (from {_first(rewards):.2f})")
        if "verified" in latest:
            words.append(f"verified {latest['verified']:.2f}")
        if "entropy/all" in latest:
            words.append(f"entropy {latest['entropy/all']:.2f}")
        return "  ".join(word for word in words if word)

    for row in earlier:
        take(row)
    with progress(label, steps, note=note) as advance:
        if earlier:
            advance(len(earlier))

        def show(row: Mapping[str, float]) -> None:
            take(row)
            advance(1)

        yield show


def _recent(values: Sequence[float]) -> float:
    last = values[-8:]
    return sum(last) / len(last)


def _first(values: Sequence[float]) -> float:
    first = values[:8]
    return sum(first) / len(first)
