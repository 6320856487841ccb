"""Several pieces of a study at once, one process and one thread each, while the parent shows their progress.

Workers only fill the stages of the run directory; the parent then reads them as if it had done the work, so
that results do not depend on how many processes there were.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from keyturn.core.errors import KeyturnError
from keyturn.core.jsonl import read_jsonl
from keyturn.core.lazy import torch
from keyturn.training.progress import sparkline

_POLL_S = 0.5


def free_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_together(
    jobs: Mapping[str, tuple[Callable[..., None], tuple[Any, ...]]], folders: Mapping[str, Path]
) -> None:
    """Run functions in processes of their own and wait for all.

    Args:
        jobs: name -> (a module-level function, its picklable arguments).
        folders: name -> the run directory that it works in, to show its progress.

    Raises:
        KeyturnError: a worker failed; its own words are already on stderr.
    """
    context = multiprocessing.get_context("spawn")
    started = {name: context.Process(target=_quietly, args=job, name=name) for name, job in jobs.items()}
    for process in started.values():
        process.start()
    console = Console(stderr=True)
    try:
        if console.is_terminal:
            with Live(console=console, refresh_per_second=4, transient=True) as live:
                while any(p.is_alive() for p in started.values()):
                    live.update(_state(folders))
                    time.sleep(_POLL_S)
        for process in started.values():
            process.join()
    except BaseException:
        for process in started.values():
            process.terminate()
        raise
    failed = [name for name, process in started.items() if process.exitcode]
    if failed:
        raise KeyturnError(
            f"the worker for {', '.join(failed)} failed", fix="run again with --workers 1 to see why"
        )


def _quietly(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        function(*arguments)
    except KeyturnError as error:
        sys.stderr.write(f"keyturn: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _state(folders: Mapping[str, Path]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, folder in folders.items():
        table.add_row(name, *_of(folder))
    return table


def _of(folder: Path) -> tuple[str, str]:
    """What a worker is doing, read off its run directory."""
    stages = sorted(folder.glob("stages/*"), key=lambda p: p.stat().st_mtime)
    doing = next((p for p in reversed(stages) if not (p / "DONE").exists()), None)
    rewards = [
        float(row["reward"])  # type: ignore[arg-type]
        for path in folder.glob("stages/rl-*/run/metrics.jsonl")
        for row in read_jsonl(path)
        if row.get("reward") is not None
    ]
    curve = f"reward {sparkline(rewards)} {rewards[-1]:.2f} after {len(rewards)} steps" if rewards else ""
    return (doing.name.rsplit("-", 1)[0] if doing else "starting"), curve
