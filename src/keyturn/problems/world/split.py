"""Splits that are disjoint as sets: the hash of a problem's rename-invariant form decides its split.

So a problem is in the same split whatever its context, names and statement order, and no list is kept.
"""

from __future__ import annotations

import hashlib
from itertools import accumulate

from keyturn.core.problem import Split

SHARES: dict[Split, float] = {"pretrain": 0.45, "rl": 0.25, "validation": 0.05, "test": 0.25}
"""Share of the problems in each split; test is not smaller because of CHAIN's smallest depths."""

_EDGES: tuple[tuple[Split, float], ...] = tuple(
    (name, edge * 2.0**64) for name, edge in zip(SHARES, accumulate(SHARES.values()), strict=True)
)


def split_of(canonical: str) -> Split:
    """The split that a problem belongs to.

    Args:
        canonical: its rename-invariant form.
    """
    digest = hashlib.blake2b(canonical.encode(), digest_size=8, person=b"keyturn-split1").digest()
    mark = int.from_bytes(digest, "little")
    for name, edge in _EDGES:
        if mark < edge:
            return name
    return _EDGES[-1][0]


def problem_id(domain: str, prompt: str) -> str:
    """An id made from the prompt, so that equal content has an equal id."""
    digest = hashlib.blake2b(prompt.encode(), digest_size=8, person=b"keyturn-problem").hexdigest()
    return f"{domain}-{digest}"
