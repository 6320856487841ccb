"""RL near a reference that is moved along keeps widening the set of solved problems, even after its plateau."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.moving_reference_sustains_rl import AFTER, K, study

CLAIM = Claim(
    id="moving-reference-sustains-rl",
    version=2,
    question="Does RL widen the set of problems that a model can solve if it runs for long enough?",
    statement=(
        "In the second half of a run that continues long after its first plateau, RL with a penalty towards a "
        "reference gains more pass@k if reference and optimiser are reset whenever validation stagnates than "
        "if the reference stays fixed."
    ),
    source="Liu et al. 2025 (ProRL), arXiv 2505.24864",
    threshold=Threshold(
        estimand="effect",
        says=(
            f"pass@{K} of the final policy minus that of the policy at half time, mean over depths: with "
            "resets minus with a fixed reference, mean over seeds"
        ),
        direction=1,
        smallest=0.02,
        why="one problem in fifty that a fixed reference did not reach in that half",
    ),
    gates=(
        Gate(name="first half", says="RL raises pass@k in the first half", minimum=0.0),
        Gate(name=AFTER, says="every run with resets passed its plateau before half time", minimum=0.5),
        Gate(name=f"{AFTER}, fixed", says="so did every run with a fixed reference", minimum=0.5),
    ),
    controls=(
        Gate(
            name="nothing moves by itself",
            says="the base compared with itself on other draws does not change",
            minimum=-0.1,
            maximum=0.1,
        ),
    ),
    study=study,
    study_says="five ways to constrain a run; short: about 20 runs of 15 s",
    minutes=5,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("prorl",),
    not_shown=(
        "The paper trains for ten times the plateau. The short profile ends after 120 steps, mostly earlier "
        "than that; the number 'times its plateau' shows how far it got. The paper starts from a distilled "
        "reasoner and 136,000 problems of five kinds; here there is one kind at two depths. The weight of the "
        "paper's penalty is not published."
    ),
)
