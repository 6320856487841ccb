"""Runs jobs at once, each in a process of its own, while this process shows their progress.

Jobs fill the stages of a run directory, or return what is small. The results are then read as if one process
had done the work itself, so they do not depend on the number of workers, nor on where these are. An
:class:`Executor` decides that: processes of this machine (:class:`Processes`), or a cluster
(:mod:`keyturn.lab.ray_workers`).
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
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from keyturn.core import errors
from keyturn.core.errors import KeyturnError, UsageError
from keyturn.core.lazy import torch
from keyturn.lab.workers_shown import shown

_POLL_S = 0.5
_PATIENCE_S = 5.0
"""How many seconds a worker may take to end after it was asked to."""


def free_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work.

    Args:
        function: a function at the top of a module. It may be run again if its worker is lost, so it does what
            is not yet done.
        arguments: what it gets; they can be pickled, and so can what it returns.
        threads: that it computes with.
        gpu: whether it may have a GPU of its own, where the workers have any.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    threads: int = 1
    gpu: bool = False


class Executor(Protocol):
    """Where jobs are run."""

    @property
    def slots(self) -> int:
        """How many jobs of one thread run at once."""
        ...

    def run(
        self,
        jobs: Mapping[str, Job],
        *,
        folders: Mapping[str, Path] | None = None,
        done: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Run jobs and wait for all of them. The first failure ends the others.

        Args:
            jobs: by name.
            folders: name -> the run directory that a job works in, to show its progress.
            done: called with the name of each job that has finished; whoever gives it shows the progress.

        Returns:
            what the jobs returned, by name.

        Raises:
            KeyturnError: a job failed. The error is the job's own, if that is one of ours.
        """
        ...


def executor_named(name: str, *, workers: int = 0) -> Executor:
    """An executor by its name.

    Args:
        name: ``processes``; ``ray`` for the cluster that this machine belongs to (or a new one on this
            machine); ``ray://host:port`` for another one.
        workers: jobs at once; 0: as many as there are cores.

    Raises:
        UsageError: there is none of that name.
    """
    if name == "processes":
        return Processes(workers or free_cores())
    if name == "ray" or name.startswith("ray://"):
        # Here and not at the top: Ray is an extra.
        from keyturn.lab.ray_workers import RayWorkers  # noqa: PLC0415

        return RayWorkers("" if name == "ray" else name, workers=workers)
    raise UsageError(f"no executor {name!r}", fix="processes, ray, or ray://host:port")


@dataclass(eq=False)
class Processes:
    """Processes of this machine. A worker ends when its parent does, however the parent ends.

    Args:
        slots: how many run at once.
    """

    slots: int
    _started: dict[str, BaseProcess] = field(default_factory=dict, init=False, repr=False)
    _words: dict[str, Connection] = field(default_factory=dict, init=False, repr=False)
    _said: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False)

    def run(
        self,
        jobs: Mapping[str, Job],
        *,
        folders: Mapping[str, Path] | None = None,
        done: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """See :meth:`Executor.run`."""
        waiting, found = dict(jobs), {}
        try:
            with shown({} if done else folders or {}) as show:
                while waiting or self._started:
                    while waiting and len(self._started) < self.slots:
                        name = next(iter(waiting))
                        self._start(name, waiting.pop(name))
                    show()
                    ears = [*(one.sentinel for one in self._started.values()), *self._words.values()]
                    connection.wait(ears, timeout=_POLL_S)
                    for name in list(self._started):
                        if self._over(name):
                            found[name] = self._said.pop(name)[1]
                            if done is not None:
                                done(name)
        finally:
            _end(self._started.values())
            for reader in self._words.values():
                reader.close()
            self._started.clear()
            self._words.clear()
            self._said.clear()
        return {name: found[name] for name in jobs}

    def _start(self, name: str, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        with _deaf_to_ctrl_c():
            self._words[name], theirs = context.Pipe(duplex=False)
            self._started[name] = context.Process(target=_quietly, args=(theirs, job), name=name)
            self._started[name].start()
            theirs.close()

    def _over(self, name: str) -> bool:
        """Whether a worker has ended; raises if it failed."""
        process, reader = self._started[name], self._words[name]
        alive = process.is_alive()  # before its words are read, of which there may be more until it ends
        with contextlib.suppress(EOFError, OSError):
            if reader.poll():
                self._said[name] = reader.recv()
        if alive:
            return False
        process.join()
        said = self._said.get(name)
        if process.exitcode or said is None:
            raise _failure(name, process.exitcode or 0, said)
        del self._started[name]
        self._words.pop(name).close()
        return True


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


def error_of(said: tuple[str, str, str]) -> KeyturnError:
    """A worker's own error: the name of its class, what it says and its fix."""
    kind, what, fix = said
    return getattr(errors, kind, KeyturnError)(what, fix=fix)


def bug_of(name: str) -> KeyturnError:
    """The error of a worker whose failure is none of ours."""
    return KeyturnError(f"the worker for {name} failed with a bug, see above", fix="report it with the command")


def _failure(name: str, code: int, said: tuple[Any, ...] | None) -> KeyturnError:
    """The reason why a worker failed: its own error, or how it ended."""
    if said is not None and said[0] == "failed":
        return error_of(said[1])
    if code < 0:
        ended = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return KeyturnError(
            f"the worker for {name} was stopped by {ended}",
            fix="run again (finished work is kept), with --workers 1 if memory is short",
        )
    return bug_of(name)


def _quietly(words: Connection, job: Job) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    torch.set_num_threads(job.threads)
    try:
        words.send(("done", job.function(*job.arguments)))
    except KeyturnError as error:
        words.send(("failed", (type(error).__name__, error.what, error.fix)))
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
