"""Do few tokens recover what RL changed and not what distillation changed?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.hybrid_studies import distilled_tokens

CLAIM = Claim(
    id="hybrids-recover-rl-not-distillation",
    version=2,
    question="Do few tokens recover what RL changed and not what distillation changed?",
    statement="A hybrid recovers much less of a distilled model's gain than of an RL-tuned model's gain.",
    source=(
        "committed results of Venhoff et al. 2025, arXiv 2510.07364: 14 to 18 % for distilled models and QwQ, "
        "none for Llama-8B, against 50 to 95 % after RL only"
    ),
    threshold=Threshold(
        estimand="effect",
        says="recovered share of RL's gain minus recovered share of SFT's gain, at 5 % worked, mean over bases",
        direction=1,
        smallest=0.3,
        why="the paper's smallest gap between the two kinds is .32",
    ),
    gates=(
        Gate(name="RL learns", says="RL raises success over the base", minimum=0.05),
        Gate(name="distillation learns", says="SFT raises success over the base", minimum=0.05),
        Gate(
            name="distillation teaches",
            says="SFT raises success where the mode is absent",
            minimum=0.05,
        ),
    ),
    controls=(
        Gate(
            name="distilled, absent",
            says="of a gain that is new to the base the same hybrid recovers less, so the number can be small",
            maximum=0.7,
        ),
    ),
    study=distilled_tokens,
    study_says=(
        "eight bases, half of them without the mode, RL and SFT of each, 16 hybrids a base; short: about 16 "
        "CPU minutes"
    ),
    minutes=16,
    refuted_if="the interval over bases of the difference lies below .3",
    relations={"few-teacher-tokens-recover-rl": ("qualifies", "it says for which teachers that holds")},
    methods=("present-and-absent",),
    not_shown=(
        "The solutions that are distilled are of the kind that pretraining held, so distillation teaches "
        "nothing new where the mode is present. In the twin it does, and those numbers stand beside; RL has no "
        "gain there."
    ),
)
