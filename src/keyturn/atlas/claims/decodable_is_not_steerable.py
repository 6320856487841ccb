"""Can what is read off hidden states be used to steer?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_limits import decodable

CLAIM = Claim(
    id="decodable-is-not-steerable",
    version=1,
    question="Can a state that is read off hidden states be corrected by steering?",
    statement="A direction that tells right answers from wrong ones makes none right when it is added.",
    source="arXiv 2605.05715: decodable at 71.6 %, and 29 ways of steering change nothing",
    threshold=Threshold(
        estimand="effect",
        says="success when the probe's direction is added minus plain draws, at 5 % worked, mean over bases",
        direction=-1,
        smallest=0.05,
        why="one problem in twenty",
    ),
    gates=(
        Gate(
            name="it can be read",
            says="the probe tells right from wrong draws of held-out problems",
            minimum=0.6,
        ),
    ),
    study=decodable,
    study_says="three bases under three rows, RL and SFT of each, and a probe; short: about 4 CPU minutes",
    minutes=4,
    refuted_if="the interval over bases of the gain lies above .05",
    relations={
        "random-directions-do-as-well": ("extends", "the same of a direction that was learnt by reading")
    },
    methods=("present-and-absent",),
    not_shown=(
        "One layer, one dose of half the mean norm, at every written token. The probe may tell the modes apart "
        "and not rightness, since one mode is nearly always right."
    ),
)
