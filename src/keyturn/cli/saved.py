"""The command that goes on with what a run made."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def say_next(what: str, *words: str | Path) -> None:
    """The next command on stderr, to be pasted."""
    sys.stderr.write(f"{what}: {shlex.join(['keyturn', *map(str, words)])}\n")
