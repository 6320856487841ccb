"""Suggest the next command after a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def say_next(what: str, *words: str | Path) -> None:
    """Print the next command on stderr, ready to be pasted."""
    sys.stderr.write(f"{what}: {shlex.join(['keyturn', *map(str, words)])}\n")
