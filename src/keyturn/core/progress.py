"""Progress on stderr: a bar on a terminal, an occasional plain line elsewhere, nothing for quick work."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
from rich.text import Text

__uncounted__ = ("progress", "waiting", "step")
"""Progress changes no result, so it does not count as code (:mod:`keyturn.core.definitions`)."""

Advance: TypeAlias = Callable[[int], None]

_WAITING: list[str] = []
_QUIET_S = 2.0
_LINE_EVERY_S = 15.0


@contextlib.contextmanager
def progress(
    label: str, total: int, *, done: int = 0, note: Callable[[], str] | None = None
) -> Iterator[Advance]:
    """Show the progress of a piece of work; the block gets ``advance(done_now)``.

    Args:
        label: name of the work.
        total: number of steps.
        done: steps that were taken before; they say nothing about the time that the others need.
        note: called whenever progress is shown; its text follows the bar (a curve, a rate).
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, label, total, done, note) as move:
            yield move
        return
    started = shown = time.monotonic()
    before = done

    def advance(steps: int) -> None:
        nonlocal done, shown
        done += steps
        now = time.monotonic()
        if now - shown >= _LINE_EVERY_S:
            shown = now
            left = (now - started) / max(done - before, 1) * (total - done)
            words = f" {note()}" if note else ""
            sys.stderr.write(f"{label}: {done}/{total}, about {left:.0f} s left{words}\n")

    yield advance


def step(label: str, place: int, steps: int, name: str, left: float | None) -> None:
    """Write which of several long steps begins, and about how long the rest will take.

    Args:
        label: name of the work.
        place: steps that are done.
        steps: how many there are.
        name: the step that begins.
        left: seconds; None where nothing is known.
    """
    rest = "" if left is None else f"; about {left:.0f} s left"
    sys.stderr.write(f"{label}: {place + 1} of {steps}, {name}{rest}\n")


@contextlib.contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show on a terminal what a block waits for, from its start to its end; show nothing elsewhere.

    Args:
        label: name of the work; inside another such block it is not shown.
    """
    console = Console(stderr=True)
    if _WAITING or not console.is_terminal:
        yield
        return
    _WAITING.append(label)
    try:
        with Live(Spinner("dots", Text(label)), console=console, transient=True) as line:
            line.refresh()  # at once, and not when the spinner's thread next runs
            yield
    finally:
        _WAITING.clear()


@contextlib.contextmanager
def _bar(
    console: Console, label: str, total: int, done: int, note: Callable[[], str] | None
) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(label, total=total, completed=done, note="", visible=False)
        started = time.monotonic()

        def advance(steps: int) -> None:
            shown = time.monotonic() - started > _QUIET_S
            bars.update(task, advance=steps, visible=shown, note=note() if note and shown else "")

        yield advance
