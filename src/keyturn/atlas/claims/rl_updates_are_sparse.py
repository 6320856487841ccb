"""RL changes few weights where SFT changes most; and what is left of it at one rate and in full precision."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rl_updates_are_sparse import study

CLAIM = Claim(
    id="rl-updates-are-sparse",
    version=2,
    question="Does RL touch only a small part of the weights?",
    statement=(
        "RL changes 5 to 30 % of the weights where SFT changes most of them, and this belongs to RL, "
        "not to the rate or the number format."
    ),
    source="Mukherjee et al. 2025, arXiv 2505.11711",
    threshold=Threshold(
        estimand="effect",
        says="share of weights changed, seen in bf16, SFT minus RL, equal steps, at the rate where it is less",
        direction=1,
        smallest=0.2,
        why="the paper has 4 to 32 % for RL and 85 to 94 % for SFT; a fifth is a third of that gap",
    ),
    gates=(
        Gate(name="RL learns", says="RL at the high rate raises success", minimum=0.0),
        Gate(
            name="RL visible",
            says="something shows in bf16 at the low rate, and not everything",
            minimum=0.01,
            maximum=0.95,
        ),
    ),
    controls=(
        Gate(
            name="RL changes in fp32",
            says="in full precision nearly every weight changes, so a share below it is one of rounding",
            minimum=0.9,
        ),
    ),
    study=study,
    study_says="seven arms at fixed rates and the base; short: some 21 runs of 3 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.2",
    methods=("precision",),
    not_shown=(
        "Weights are rounded, sums are not: a run in bf16 also rounds activations and gradients. A model of "
        "0.35M parameters has larger weights than one of 7B, so the same rate shows in fewer of them."
    ),
)
