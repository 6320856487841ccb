"""RL that is kept near a reference that moves along goes on widening what is solved, after its plateau too."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.moving_reference_sustains_rl import AFTER, K, study

CLAIM = Claim(
    id="moving-reference-sustains-rl",
    version=2,
    question="Does RL widen what a model can solve if only it goes on for long enough?",
    statement=(
        "In the second half of a run that goes on long after its first plateau, RL with a penalty towards a "
        "reference that is reset with the optimiser whenever validation stagnates gains more pass@k than RL "
        "with the same penalty towards a reference that stays."
    ),
    source="Liu et al. 2025 (ProRL), arXiv 2505.24864",
    threshold=Threshold(
        estimand="effect",
        says=(
            f"pass@{K} of the final policy minus that of the middle one, mean over depths: reference and "
            "optimiser reset, minus reference fixed, mean over seeds"
        ),
        direction=1,
        smallest=0.02,
        why="one problem in fifty that a fixed reference did not reach in that half",
    ),
    gates=(
        Gate(name="first half", says="RL widens anything at all", minimum=0.0),
        Gate(name=AFTER, says="every run with resets has its middle behind its plateau", minimum=0.5),
        Gate(name=f"{AFTER}, fixed", says="so has every run with a fixed reference", minimum=0.5),
    ),
    controls=(
        Gate(
            name="nothing moves by itself",
            says="the base on other draws is the base",
            minimum=-0.1,
            maximum=0.1,
        ),
    ),
    study=study,
    study_says="five ways to hold a run; short: some 20 runs of 15 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("prorl",),
    not_shown=(
        "Ten times the plateau is the paper's; the short profile ends after 120 steps, mostly before that: "
        "the number 'times its plateau' says where. The paper starts from a distilled reasoner and 136,000 "
        "problems of five kinds; this is one kind at two depths. The weight of its penalty is not published."
    ),
)
