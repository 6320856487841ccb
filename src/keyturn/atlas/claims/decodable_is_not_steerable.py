"""Can what is read off hidden states be used to steer?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.decodable import decodable

CLAIM = Claim(
    id="decodable-is-not-steerable",
    version=2,
    question="Can a state that is read off hidden states be corrected by steering?",
    statement=(
        "A direction that tells right answers from wrong ones makes no more of them right, when it is added, "
        "than a random direction does."
    ),
    source="arXiv 2605.05715: decodable at 71.6 %, and 29 ways of steering change nothing",
    threshold=Threshold(
        estimand="effect",
        says="success under the probe's direction minus random directions, at 5 % worked, mean over bases",
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
        Gate(name="it moves the law", says="the largest dose moves the law, in nats a token", minimum=0.1),
    ),
    controls=(
        Gate(
            name="labels shuffled",
            says="with shuffled labels nothing can be read",
            minimum=0.4,
            maximum=0.6,
        ),
    ),
    study=decodable,
    study_says=(
        "four bases, a probe, and five directions under twelve ways of adding them; short: about 6 CPU minutes"
    ),
    minutes=6,
    refuted_if="the interval over bases of the gain over random directions lies above .05",
    relations={
        "random-directions-do-as-well": ("extends", "the same of a direction that was learnt by reading")
    },
    methods=("present-and-absent",),
    not_shown=(
        "One layer. The probe may tell the modes apart and not rightness, since one mode is nearly always "
        "right; how well it reads among answers without steps stands beside."
    ),
)
