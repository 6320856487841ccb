"""Does a penalty on switching thoughts make answers better?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.switch_penalty import study

CLAIM = Claim(
    id="switch-penalty-raises-success",
    version=2,
    question="Does a penalty on switching thoughts make answers better?",
    statement="Where a policy gives attempts up too early, a penalty on the switch token raises success.",
    source="Wang et al. 2025 (TIP), arXiv 2501.18585: 41.7 to 45.8 % on AIME 2024",
    threshold=Threshold(
        estimand="effect",
        says="success under the penalty minus plain draws within 32 tokens, late hits, mean over bases",
        direction=1,
        smallest=0.04,
        why="what the paper reports; a policy that switches as its texts do would gain .10",
    ),
    gates=(
        Gate(
            name="the base searches",
            says="plain success is near what its texts are worth",
            minimum=-0.15,
            maximum=0.15,
        ),
    ),
    controls=(
        Gate(name="flipped", says="the penalty with its sign changed does not help", maximum=0.04),
        Gate(name="random words", says="a penalty on as many random words does not help", maximum=0.04),
        Gate(
            name="early hits",
            says="the same penalty does not help where switching at once is right",
            maximum=0.04,
        ),
    ),
    study=study,
    study_says="six bases under five rows each; short: about 12 CPU minutes",
    minutes=12,
    refuted_if="the interval over bases of the gain lies below .04",
    methods=("switch-penalty",),
    not_shown=(
        "That a policy switches too early is planted here; where hits come early the penalty should hurt, and "
        "that is a control. A random word is seldom one that these texts use, so that control is weak. Whether "
        "language models switch too early is not tested."
    ),
)
