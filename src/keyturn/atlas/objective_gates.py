"""Gates that claims about objectives share."""

from __future__ import annotations

from keyturn.atlas.contract import Gate
from keyturn.experiments.objective_study import COVERAGE, LEARNS

GRPO_LEARNS = Gate(name=LEARNS, says="GRPO raises success on the test problems", minimum=0.0)
COVERAGE_TO_KEEP = Gate(
    name=COVERAGE, says="GRPO loses coverage that could be kept: pass@16, GRPO minus base", maximum=0.0
)
