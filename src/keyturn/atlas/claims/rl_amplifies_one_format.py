"""RL converges to one format of pretraining. Is it the frequent one, or the more accurate one?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.rl_amplifies_one_format import study

CLAIM = Claim(
    id="rl-amplifies-one-format",
    version=2,
    question="Does RL choose a format because it is frequent or because it is accurate?",
    statement="RL moves to the format that is right more often, even if it was rarer in pretraining.",
    source="Zhao et al. 2025 (Echo chamber), arXiv 2504.07912",
    threshold=Threshold(
        estimand="effect",
        says="share of the rarer, more accurate format after RL minus before",
        direction=1,
        smallest=0.2,
        why="one draw in five changes its format",
    ),
    gates=(Gate(name="RL learns", says="RL raises success", minimum=0.0),),
    controls=(
        Gate(
            name="random reward",
            says="a reward that ignores answers shifts formats by less than the effect of interest",
            minimum=-0.2,
            maximum=0.2,
        ),
    ),
    study=study,
    study_says="eight arms on three bases; short: three pretrainings, about 27 runs of 5 to 10 s",
    minutes=4.9,
    refuted_if="the interval over seeds lies below +.2",
    methods=("formats",),
    not_shown=(
        "Formats differ in their surface only. In the paper the winning format changes with model size, and "
        "two sizes are too few to show a trend."
    ),
)
