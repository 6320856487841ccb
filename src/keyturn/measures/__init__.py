"""What changed, one file each."""

from __future__ import annotations

from keyturn.measures.answer_entropy import ANSWER_ENTROPY
from keyturn.measures.contract import Measure
from keyturn.measures.coverage import COVERAGE
from keyturn.measures.crossing import CROSSING
from keyturn.measures.deployed_created import DEPLOYED_CREATED
from keyturn.measures.length import LENGTH
from keyturn.measures.pass_at_k import PASS_AT_K
from keyturn.measures.reachability import REACHABILITY
from keyturn.measures.role_entropy import ROLE_ENTROPY
from keyturn.measures.routing_execution import ROUTING_EXECUTION
from keyturn.measures.token_shift import TOKEN_SHIFT
from keyturn.measures.update_geometry import UPDATE_GEOMETRY

MEASURES: dict[str, Measure] = {
    "deployed_created": DEPLOYED_CREATED,
    "pass_at_k": PASS_AT_K,
    "crossing": CROSSING,
    "coverage": COVERAGE,
    "routing_execution": ROUTING_EXECUTION,
    "answer_entropy": ANSWER_ENTROPY,
    "length": LENGTH,
    "reachability": REACHABILITY,
    "token_shift": TOKEN_SHIFT,
    "role_entropy": ROLE_ENTROPY,
    "update_geometry": UPDATE_GEOMETRY,
}
"""Name -> measure, in the order in which a report tells them."""
