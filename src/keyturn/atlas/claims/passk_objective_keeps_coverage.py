"""Training for pass@k keeps the coverage that training for pass@1 loses."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.objective_gates import COVERAGE_TO_KEEP, GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.passk_objective_keeps_coverage import study

CLAIM = Claim(
    id="passk-objective-keeps-coverage",
    version=2,
    question="Does RL lose coverage, or does the objective?",
    statement=(
        "Rewarding a group for its best draw keeps more problems solvable within many draws than rewarding "
        "every draw."
    ),
    source="Chen et al. 2025 (Pass@k training), arXiv 2508.10751; Walder and Karkhanis 2025, arXiv 2505.15201",
    threshold=Threshold(
        estimand="effect",
        says="verified pass@16 after training, objective pass@4 minus GRPO",
        direction=1,
        smallest=0.02,
        why="a fiftieth of the problems",
    ),
    gates=(
        GRPO_LEARNS,
        COVERAGE_TO_KEEP,
        Gate(
            name="gain at one draw",
            says="the objective pass@4 raises success too (a run that learns nothing keeps all coverage)",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="three objectives and the base; short: about 12 runs of 5 to 15 s",
    minutes=2,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("passk_grpo",),
    not_shown=(
        "Training for pass@1 after training for pass@k, as the papers propose, is not tried, nor are budgets "
        "far beyond 16 draws. Arms are compared at equal steps and at the learning rate that validation "
        "chose, not at equal success: an arm that moves less also loses less. GRPO also divides by deviations "
        "and lengths, so k is not the only difference."
    ),
)
