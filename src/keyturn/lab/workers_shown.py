"""What workers are doing, read from the run directories that they fill, in one place."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from keyturn.core.jsonl import read_jsonl
from keyturn.training.progress import sparkline

_LINE_EVERY_S = 15.0


@contextlib.contextmanager
def shown(folders: Mapping[str, Path], *, lines: bool = False) -> Iterator[Callable[[], None]]:
    """Show what each worker does; the block calls what it gets now and then.

    Args:
        folders: worker -> the run directory that it works in.
        lines: away from a terminal write a line now and then, for workers whose own lines are not seen here.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _line_writer(folders) if lines and folders else lambda: None
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda: live.update(_state(folders))


def _line_writer(folders: Mapping[str, Path]) -> Callable[[], None]:
    last = time.monotonic()

    def write() -> None:
        nonlocal last
        if time.monotonic() - last < _LINE_EVERY_S:
            return
        last = time.monotonic()
        for folder in dict.fromkeys(folders.values()):
            stages = list(folder.glob("stages/*"))
            done = sum((stage / "DONE").exists() for stage in stages)
            curve = _of(folder)[1]
            said = f"{folder.name}: {done} stages done, {len(stages) - done} begun"
            sys.stderr.write(said + (f", {curve}" if curve else "") + "\n")

    return write


def _state(folders: Mapping[str, Path]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, folder in folders.items():
        table.add_row(name, *_of(folder))
    return table


def _of(folder: Path) -> tuple[str, str]:
    """What a worker is doing, read from its run directory."""
    stages = sorted(folder.glob("stages/*"), key=lambda p: p.stat().st_mtime)
    doing = next((p for p in reversed(stages) if not (p / "DONE").exists()), None)
    rewards = [
        float(row["reward"])  # type: ignore[arg-type]
        for path in folder.glob("stages/rl-*/run/metrics.jsonl")
        for row in read_jsonl(path, growing=True)
        if row.get("reward") is not None
    ]
    curve = f"reward {sparkline(rewards)} {rewards[-1]:.2f} after {len(rewards)} steps" if rewards else ""
    return (doing.name.rsplit("-", 1)[0] if doing else "starting"), curve
