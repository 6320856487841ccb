"""The unary maps of CHAIN and INV, which a reader of the world's texts must know by heart."""

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


def _draw_square() -> tuple[tuple[int, ...], ...]:
    # (column[a[j] + b[x]]) with a, b, column shuffled: rows and columns of a Latin square in no visible order.
    streams = Streams(0, ("world", "inv", "maps"))
    identity = range(MODULUS)
    a, b, column = (
        sorted(identity, key=lambda residue, w=word: streams.key(w, residue)) for word in ("a", "b", "column")
    )
    return tuple(tuple(column[(a[j] + b[x]) % MODULUS] for x in identity) for j in identity)


SQUARE: tuple[tuple[int, ...], ...] = _draw_square()
"""The seven maps of INV: ``SQUARE[j][x]``. For every pair (x, y) exactly one map sends x to y. So the result of
a map, or of any list of maps, reveals nothing about the start unless the maps are inverted."""
