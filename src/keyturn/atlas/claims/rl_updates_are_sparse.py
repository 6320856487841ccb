"""RL changes few weights and SFT changes most. What remains of this at one rate and in full precision?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rl_updates_are_sparse import study

CLAIM = Claim(
    id="rl-updates-are-sparse",
    version=2,
    question="Does RL change only a small part of the weights?",
    statement=(
        "RL changes 5 to 30 % of the weights while SFT changes most of them. The cause is RL itself, not the "
        "learning rate or the number format."
    ),
    source="Mukherjee et al. 2025, arXiv 2505.11711",
    threshold=Threshold(
        estimand="effect",
        says=(
            "share of weights changed in bf16, SFT minus RL, at equal steps, at the rate with the smaller "
            "difference"
        ),
        direction=1,
        smallest=0.2,
        why="the paper reports 4 to 32 % for RL and 85 to 94 % for SFT; .2 is about a third of that gap",
    ),
    gates=(
        Gate(name="RL learns", says="RL at the high rate raises success", minimum=0.0),
        Gate(
            name="RL visible",
            says="at the low rate bf16 shows a part of the changes, but not all",
            minimum=0.01,
            maximum=0.95,
        ),
    ),
    controls=(
        Gate(
            name="RL changes in fp32",
            says="in full precision nearly every weight changes, so a smaller share comes from rounding",
            minimum=0.9,
        ),
    ),
    study=study,
    study_says="seven arms at fixed rates and the base; short: about 21 runs of 3 s",
    minutes=1.1,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.2",
    methods=("precision",),
    not_shown=(
        "Only weights are rounded; a real run in bf16 also rounds activations and gradients. A model of 0.35M "
        "parameters has larger weights than one of 7B, so the same rate visibly changes fewer of them."
    ),
)
