"""Does a steering vector need its own direction, or does a random one of the same length do as well?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import directions

CLAIM = Claim(
    id="random-directions-do-as-well",
    version=2,
    question="Is it the direction of a steering vector that elicits, or would any push do?",
    statement="A random direction of equal length elicits about as much as the vector that was made for it.",
    source=(
        "committed results of Venhoff et al. 2025, arXiv 2510.07364: with bias only, random vectors or random "
        "firing 75 to 77 % on MATH500, where the full method has 89 % on 18 problems"
    ),
    threshold=Threshold(
        estimand="effect",
        says=(
            "success under the vector minus success under random directions, four to a base, at 5 % worked, "
            "mean over bases"
        ),
        direction=-1,
        smallest=0.05,
        why="one problem in twenty",
    ),
    gates=(Gate(name="the vector works", says="the vector raises success over plain draws", minimum=0.0),),
    study=directions,
    study_says="ten bases under seven rows, RL and SFT of each; short: about 7 CPU minutes",
    minutes=7,
    refuted_if="the interval over bases of the difference lies above .05",
    relations={"elicitation-needs-the-skill": ("qualifies", "what any push elicits says little of the vector")},
    methods=("present-and-absent",),
    not_shown=(
        "The vector is the difference of states after and before the opener, added at the last token of the "
        "prompt for one step. The published hybrid adds its vectors where a teacher disagrees, and chooses "
        "among candidates by the teacher, so what its random vectors kept may be the teacher's choice."
    ),
)
