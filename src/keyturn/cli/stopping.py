"""What stops a process: Ctrl-C, a scheduler's SIGTERM, a terminal that closes. Imports next to nothing.

The first such signal raises :class:`Stopped`, so that everything that is open is closed and the front door says
how to go on. The second one ends the process at once: what is on disk is whole at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_first = 0


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def watch() -> None:
    """Answer these signals from now on; one that is ignored (``nohup``, a background job) stays ignored."""
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


def closing() -> None:
    """The work is done: a signal from now on ends the process without a word."""
    global _first
    _first = _first or -1


def stopped() -> int:
    """The signal that asked this process to end; 0 where none did."""
    return max(_first, 0)


def exit_code(number: int) -> int:
    """What a shell reports of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + number


def _stop(number: int, frame: FrameType | None) -> None:
    global _first
    if _first:
        _leave(number)
    _first = number
    raise Stopped(number)


def _leave(number: int) -> None:
    """End now, without what would run at the end; a cursor that a progress bar hid is shown again."""
    said = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""
    if _first > 0:
        said += "\nkeyturn: ended at once; what is finished is kept, the same command goes on.\n"
    with contextlib.suppress(OSError):
        os.write(2, said.encode())
    os._exit(exit_code(number))
