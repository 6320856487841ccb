"""The gates that claims about objectives share."""

from __future__ import annotations

from keyturn.atlas.contract import Gate
from keyturn.experiments.objective_study import COVERAGE, LEARNS

GRPO_LEARNS = Gate(name=LEARNS, says="GRPO raises success on the test problems", minimum=0.0)
COVERAGE_TO_KEEP = Gate(name=COVERAGE, says="there is coverage to keep: GRPO minus base, pass@16", maximum=0.0)
