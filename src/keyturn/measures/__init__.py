"""What changed, one file each."""

from __future__ import annotations

from keyturn.measures.contract import Measure
from keyturn.measures.reachability import REACHABILITY
from keyturn.measures.role_entropy import ROLE_ENTROPY
from keyturn.measures.token_shift import TOKEN_SHIFT
from keyturn.measures.update_geometry import UPDATE_GEOMETRY

MEASURES: dict[str, Measure] = {
    "reachability": REACHABILITY,
    "token_shift": TOKEN_SHIFT,
    "role_entropy": ROLE_ENTROPY,
    "update_geometry": UPDATE_GEOMETRY,
}
"""Name -> measure, in the order in which a report tells them."""
