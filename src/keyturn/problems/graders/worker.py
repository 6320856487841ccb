"""The parent's side of a comparison that can be killed: a fresh interpreter, one line in, one line out.

It uses no signal and no alarm, so it works from any thread and inside an event loop. It reads no pickle, so the
child can only return a verdict. The user's script needs no ``__main__`` guard. If the child dies or exceeds its
time, only this item loses its verdict (NaN, *ungraded*): the child is killed, and the next item gets a new one.
The parent never evaluates anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from keyturn.core.errors import KeyturnError
from keyturn.core.extras import need

START_LIMIT_S = 120.0
"""Seconds for the child to import SymPy, which takes about 2 s on an idle machine."""

PATIENCE = 10
"""How many times its limit an item may take in wall time, since other processes may keep the processor busy."""

__code_files__ = ("math_worker.py",)
"""The child's script, which is part of the version of the code."""

_SCRIPT = Path(__file__).with_name("math_worker.py")
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")


class MathWorker:
    """Compares LaTeX answers in a child process that is killed when it takes too long.

    Args:
        limit_s: maximum seconds of processor time for one item (wall time if the system does not report a
            child's processor time). Ordinary answers take a hundredth of the default.
    """

    def __init__(self, limit_s: float = 1.0) -> None:
        if not limit_s > 0:
            raise ValueError(f"a time limit of {limit_s} s leaves no time")
        self.limit_s = limit_s
        self.starts = 0
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def compare(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Compare pairs ``(gold, answer)``: 1 equal, 0 not equal, NaN without a verdict in time.

        Raises:
            MissingExtraError: math-verify is not installed.
        """
        with self._lock:
            return [self._one(gold, answer) for gold, answer in pairs]

    def close(self) -> None:
        """End the child process; a later comparison starts a new one."""
        with self._lock:
            self._drop()

    def _one(self, gold: str, answer: str) -> float:
        child = self._alive()
        item = {"gold": gold, "answer": answer, "limit": (PATIENCE + 1) * self.limit_s + 1}
        try:
            reply = child.ask(item, self.limit_s)
        except BaseException:
            # Interrupted while waiting: a late reply must not count for the next item.
            self._drop()
            raise
        if reply is None:
            self._drop()
            return math.nan
        verdict = reply.get("verdict")
        return float(verdict) if verdict in (0, 1) else math.nan  # type: ignore[arg-type]

    def _alive(self) -> _Child:
        # A forked process shares its parent's pipes, so it needs its own child.
        if self._child is not None and self._child.owner != os.getpid():
            self._child = None
        if self._child is None:
            if importlib.util.find_spec("math_verify") is None:
                need("math_verify", "the math grader")
            self.starts += 1
            self._child = _Child()
        return self._child

    def _drop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One process, its pipes and the thread that reads them."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **{name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                "PYTHONHASHSEED": "0",
                "PYTHONUTF8": "1",
            },
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(self.process.stdout, self.lines), daemon=True).start()
        self.kill = weakref.finalize(self, _end, self.process)
        try:
            hello = self._line(START_LIMIT_S)
        except queue.Empty:
            hello = None
        if hello is None or not hello.get("ready"):
            self.kill()
            why = "it did not answer" if hello is None else str(hello.get("why"))
            raise KeyturnError(
                f"the process of the math grader did not start: {why}",
                fix="check that `python -c 'import math_verify'` works in this environment",
            )

    def ask(self, item: dict[str, object], limit_s: float) -> dict[str, object] | None:
        """The reply to one item; None if the child is late or dead."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(item) + "\n")
            self.process.stdin.flush()
        except OSError:
            return None
        started, waited, wait = _processor_s(self.process.pid), 0.0, limit_s
        while True:
            try:
                return self._line(wait)
            except queue.Empty:
                waited += wait
            # A busy machine must not turn a right answer into an ungraded one.
            wait = limit_s - (_processor_s(self.process.pid) - started)
            if not (wait > 0.01 and waited < PATIENCE * limit_s):
                return None

    def _line(self, limit_s: float) -> dict[str, object] | None:
        """The child's next reply; None if it is dead.

        Raises:
            queue.Empty: there was no reply in time.
        """
        line = self.lines.get(timeout=limit_s)
        try:
            document = json.loads(line)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None


def _forward(stream: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Move lines from a pipe to a queue, which allows waiting with a time limit; ``""`` marks the end."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            lines.put(line)
    lines.put("")


def _processor_s(pid: int) -> float:
    """Processor time of a process so far; NaN if the system does not report it."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return math.nan


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a child process and wait for its end."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
