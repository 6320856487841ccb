"""GRPO divides by length and so spares long wrong answers; a constant denominator (Dr. GRPO) does not."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.objective_gates import GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.dr_grpo_shortens_wrong_answers import study

CLAIM = Claim(
    id="dr-grpo-shortens-wrong-answers",
    version=2,
    question="Does growing length come from reasoning, or from the loss?",
    statement=(
        "Dividing a row's loss by its own length makes wrong answers grow; with a constant denominator they "
        "stay short at equal success."
    ),
    source="Liu et al. 2025 (Dr. GRPO), arXiv 2503.20783, section 3",
    threshold=Threshold(
        estimand="effect",
        says="tokens of a wrong answer after training, Dr. GRPO minus GRPO",
        direction=-1,
        smallest=-1.0,
        why="one token in about twenty",
    ),
    gates=(
        GRPO_LEARNS,
        Gate(name="growth", says="GRPO makes wrong answers longer than those of the base", minimum=0.0),
    ),
    controls=(
        Gate(
            name="std alone",
            says="if only the division by the deviation is removed, wrong answers keep their length",
            minimum=-3.0,
        ),
        Gate(
            name="success",
            says="success is equal within the audit's margin of no change (Dr. GRPO minus GRPO)",
            minimum=-0.03,
            maximum=0.03,
        ),
    ),
    study=study,
    study_says="four objectives and the base; short: about 16 runs of 5 to 15 s",
    minutes=2.7,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies above -1 token",
    methods=("dr_grpo", "grpo"),
    not_shown=(
        "The grammar of this world limits the length of a wrong answer, and twenty steps may be too few for "
        "the drift that the paper reports over hundreds. If GRPO's answers do not grow, there is nothing to "
        "avoid: shorter than GRPO may then mean shorter than the base."
    ),
)
