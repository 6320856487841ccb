"""The unary maps of CHAIN: what a reader of the world's texts has to know by heart."""

from __future__ import annotations

from keyturn.core.streams import Streams
from keyturn.problems.world.vocabulary import MAPS

MODULUS = 7


def _draw_maps() -> tuple[tuple[int, ...], ...]:
    # Sorting by hashed keys needs no generator, so the maps cannot change with a version of numpy.
    streams = Streams(0, ("world", "chain", "maps"))
    identity = tuple(range(MODULUS))
    found: list[tuple[int, ...]] = []
    attempt = 0
    while len(found) < len(MAPS):
        drawn = tuple(sorted(identity, key=lambda residue, a=attempt: streams.key(a, residue)))
        attempt += 1
        if drawn != identity and drawn not in found:
            found.append(drawn)
    return tuple(found)


TABLES: tuple[tuple[int, ...], ...] = _draw_maps()
"""``TABLES[j][x]`` is the j-th map at x; the same in every CHAIN world."""
