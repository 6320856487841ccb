"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere, nothing when it is quick."""

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

__uncounted__ = ("progress", "waiting")
"""What is shown changes no result: no part of the code behind one (:mod:`keyturn.core.definitions`)."""

Advance: TypeAlias = Callable[[int], None]

_WAITING: list[str] = []
_QUIET_S = 2.0
_LINE_EVERY_S = 15.0


@contextlib.contextmanager
def progress(label: str, total: int, *, note: Callable[[], str] | None = None) -> Iterator[Advance]:
    """Show how far a piece of work is; the block gets ``advance(done_now)``.

    Args:
        label: what is being done.
        total: how many steps there are.
        note: called whenever something is shown; its text stands behind the bar (a curve, a rate).
    """
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, label, total, note) as move:
            yield move
        return
    started = shown = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, shown
        done += steps
        now = time.monotonic()
        if now - shown >= _LINE_EVERY_S:
            shown = now
            left = (now - started) / max(done, 1) * (total - done)
            words = f" {note()}" if note else ""
            sys.stderr.write(f"{label}: {done}/{total}, about {left:.0f} s left{words}\n")

    yield advance


@contextlib.contextmanager
def waiting(label: str) -> Iterator[None]:
    """Say on a terminal what a block waits for, at once and until it is done; nothing elsewhere.

    Args:
        label: what is being done; inside another such block it is not shown.
    """
    console = Console(stderr=True)
    if _WAITING or not console.is_terminal:
        yield
        return
    _WAITING.append(label)
    try:
        with Live(Spinner("dots", Text(label)), console=console, transient=True) as line:
            line.refresh()  # now, and not when the thread that turns the spinner comes round
            yield
    finally:
        _WAITING.clear()


@contextlib.contextmanager
def _bar(console: Console, label: str, total: int, note: Callable[[], str] | None) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(label, total=total, note="", visible=False)
        started = time.monotonic()

        def advance(steps: int) -> None:
            shown = time.monotonic() - started > _QUIET_S
            bars.update(task, advance=steps, visible=shown, note=note() if note and shown else "")

        yield advance
