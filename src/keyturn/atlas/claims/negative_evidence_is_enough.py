"""Learning from wrong answers alone keeps coverage; learning from right ones alone loses it."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.objective_gates import COVERAGE_TO_KEEP, GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.negative_evidence_is_enough import study

CLAIM = Claim(
    id="negative-evidence-is-enough",
    version=2,
    question="Does RL work by raising right answers or by lowering wrong ones?",
    statement=(
        "Lowering wrong answers alone gains success at one draw and keeps coverage; raising right ones alone "
        "loses coverage."
    ),
    source="Zhu et al. 2025, The surprising effectiveness of negative reinforcement, arXiv 2506.01347",
    threshold=Threshold(
        estimand="effect",
        says="verified pass@16 after training, negative only minus positive only",
        direction=1,
        smallest=0.02,
        why="one problem in fifty",
    ),
    gates=(
        GRPO_LEARNS,
        COVERAGE_TO_KEEP,
        Gate(
            name="negative, against the base",
            says=(
                "learning from wrong answers alone raises success (a run that learns nothing keeps all "
                "coverage)"
            ),
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="five objectives and the base; short: about 20 runs of 5 to 15 s",
    minutes=3.3,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("signed",),
    not_shown=(
        "Arms are compared at equal steps and at the learning rate that validation chose, not at equal "
        "pass@1. Negative evidence alone is reported to degrade after hundreds of steps, which a short run "
        "does not reach."
    ),
)
