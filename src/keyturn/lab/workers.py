"""Runs several parts of a study at once, with one thread per process, while the parent shows their progress.

Workers only fill the stages of the run directory. The parent then reads the stages as if it had done the work
itself, so results do not depend on the number of processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from keyturn.core import errors
from keyturn.core.errors import KeyturnError
from keyturn.core.jsonl import read_jsonl
from keyturn.core.lazy import torch
from keyturn.training.progress import sparkline

_POLL_S = 0.5
_PATIENCE_S = 5.0
"""How many seconds a worker may take to end after it was asked to."""


def free_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_together(
    jobs: Mapping[str, tuple[Callable[..., None], tuple[Any, ...]]], folders: Mapping[str, Path]
) -> None:
    """Run functions in separate processes and wait for all of them. The first failure ends the others.

    A worker ends when its parent does, however the parent ends.

    Args:
        jobs: name -> (a module-level function, its picklable arguments).
        folders: name -> the run directory that the job works in, to show its progress.

    Raises:
        KeyturnError: a worker failed. The error is the worker's own, if that is one of ours.
    """
    context = multiprocessing.get_context("spawn")
    started: dict[str, BaseProcess] = {}
    words: dict[str, Connection] = {}
    try:
        with _deaf_to_ctrl_c():
            for name, (function, arguments) in jobs.items():
                words[name], theirs = context.Pipe(duplex=False)
                started[name] = context.Process(target=_quietly, args=(theirs, function, arguments), name=name)
                started[name].start()
                theirs.close()
        _wait(started, folders)
        failed = next((name for name, process in started.items() if process.exitcode), None)
        if failed is not None:
            raise _failure(failed, started[failed].exitcode or 0, words[failed])
    finally:
        _end(started.values())
        for reader in words.values():
            reader.close()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in this context never see Ctrl-C, which a terminal sends to all.

    Their parent ends them. In this process the signal is only held back during that time, and not lost.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it later would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(started: Mapping[str, BaseProcess], folders: Mapping[str, Path]) -> None:
    """Wait until all are done or one has failed."""
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        live = None
        if console.is_terminal:
            live = stack.enter_context(Live(console=console, refresh_per_second=4, transient=True))
        while True:
            running = [process for process in started.values() if process.is_alive()]
            if not running or any(process.exitcode for process in started.values()):
                return
            if live is not None:
                live.update(_state(folders))
            connection.wait([process.sentinel for process in running], timeout=_POLL_S)


def _end(processes: Any) -> None:
    """End the processes that are still running. Files on disk are complete at any moment, so this is safe."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + _PATIENCE_S
    for process in processes:
        if process.pid is not None:
            process.join(max(deadline - time.monotonic(), 0.1))
            if process.is_alive():
                process.kill()
                process.join()


def _failure(name: str, code: int, words: Connection) -> KeyturnError:
    """The reason why a worker failed: its own error, or how it ended."""
    with contextlib.suppress(EOFError, OSError):
        if words.poll():
            kind, what, fix = words.recv()
            return getattr(errors, kind, KeyturnError)(what, fix=fix)
    if code < 0:
        ended = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return KeyturnError(
            f"the worker for {name} was stopped by {ended}",
            fix="run again (finished work is kept), with --workers 1 if memory is short",
        )
    return KeyturnError(f"the worker for {name} failed with a bug, see above", fix="report it with the command")


def _quietly(words: Connection, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        function(*arguments)
    except KeyturnError as error:
        words.send((type(error).__name__, error.what, error.fix))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_the_parent() -> None:
    """End this worker when its parent ends. A parent that was killed cannot end its workers itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        # The worker ends at once: files on disk are complete at any moment, and a training step may take long.
        os._exit(1)


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
