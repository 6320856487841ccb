"""When a child process answers signals as keyturn does: on a busy machine Python takes seconds to start."""

import signal
import subprocess
import time
from pathlib import Path

HAS_PROC = Path("/proc/self/status").exists()
CHILD_S = 300
"""How long a child may take that was told to end: a guard against waiting for ever, and no measurement."""


def wait_until_ready(process: subprocess.Popen, seconds: float = CHILD_S) -> None:
    """Return once the child catches SIGHUP, the last signal that keyturn watches and none that Python does.

    Without /proc, or where the child has ended, it returns at once, and the child's first moments are tested.
    """
    deadline = time.monotonic() + seconds
    while HAS_PROC and process.poll() is None and not _catches(process.pid, signal.SIGHUP):
        assert time.monotonic() < deadline, "it never watched for signals"
        time.sleep(0.005)


def _catches(process: int, number: int) -> bool:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = next((line.split()[1] for line in lines if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
