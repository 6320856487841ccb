"""Jobs for processes of their own, which must be found by import."""

import os
import signal
import time
from pathlib import Path

from keyturn.core.errors import BusyError


def wait(folder: str, name: str) -> None:
    (Path(folder) / f"{name}.{os.getpid()}").touch()
    time.sleep(600)


def busy(folder: str) -> None:
    raise BusyError(f"{folder} is in use by process 1 on here", fix="wait for it")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def bug() -> None:
    raise ZeroDivisionError("by zero")


def touch(path: str) -> str:
    Path(path).touch()
    return path


def large(bytes_: int) -> bytes:
    return b"x" * bytes_
