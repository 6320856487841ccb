"""Handling of the signals that stop a process: Ctrl-C, a scheduler's SIGTERM, a terminal that closes.

The first signal raises :class:`Stopped`, so that open files are closed and the command line says how to resume.
The second ends the process at once; files on disk are complete at any moment. This module imports very little.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_AGAIN_S = 0.05
"""Seconds after which a signal is raised again that Python dropped."""
_first = 0


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def watch() -> None:
    """Handle these signals from now on; a signal that is ignored (``nohup``, a background job) stays
    ignored."""
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _dropped


def closing() -> None:
    """Say that the work is done: a signal from now on ends the process silently."""
    global _first
    _first = _first or -1


def stopped() -> int:
    """The number of the signal that asked this process to end, or 0."""
    return max(_first, 0)


def exit_code(number: int) -> int:
    """The exit code that a shell reports for a process ended by a signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


def _stop(number: int, frame: FrameType | None) -> None:
    global _first
    if _first:
        _leave(number)
    _first = number
    raise Stopped(number)


def _dropped(found: Any) -> None:
    """Python cannot raise out of a finaliser or a weak reference's callback: it prints what was raised and goes
    on.

    A signal that arrives there is raised again a moment later, by a thread, since this function cannot raise
    either.
    """
    if not isinstance(found.exc_value, Stopped):
        sys.__unraisablehook__(found)
        return
    again = threading.Timer(_AGAIN_S, _raise_again, (found.exc_value.number,))
    again.daemon = True
    again.start()


def _raise_again(number: int) -> None:
    global _first
    _first = 0
    if hasattr(signal, "pthread_kill") and threading.main_thread().ident is not None:
        # To the main thread, which may be asleep: a signal that another thread gets would not wake it.
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _leave(number: int) -> None:
    """End now, without exit handlers; show the cursor again if a progress bar hid it."""
    said = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
    if _first > 0:
        said += "\nkeyturn: ended at once; finished work is kept, and the same command resumes.\n"
    with contextlib.suppress(OSError):
        os.write(2, said.encode())
    os._exit(exit_code(number))
