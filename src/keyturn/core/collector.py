"""Python's cycle collector, and how to do without it for a while."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cycle collector, for work that makes or keeps very many objects and no cycles.

    The collector walks all objects that are alive again and again as more are made: with a hundred thousand
    records that takes longer than the work. Reference counting goes on as ever.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
