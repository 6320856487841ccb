"""How much of RL's gain do RL's tokens at few places recover in the base's text?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.hybrid_studies import few_tokens

CLAIM = Claim(
    id="few-teacher-tokens-recover-rl",
    version=2,
    question="Is what RL changed in few tokens, so that the base does the rest?",
    statement="RL's tokens, taken where it disagrees with the base, recover at least half of RL's gain.",
    source="Venhoff et al. 2025, arXiv 2510.07364 (95, 83, 50 and 60 % recovered for four models tuned by RL)",
    threshold=Threshold(
        estimand="effect",
        says="share of RL's gain that its tokens recover where the likeliest ones differ, mean over bases",
        direction=1,
        smallest=0.5,
        why="the least that the paper reports of models tuned by RL only",
    ),
    gates=(Gate(name="RL learns", says="RL raises success over the base", minimum=0.05),),
    controls=(
        Gate(
            name="share of tokens",
            says="the tokens are few: at most a quarter, as in the paper",
            maximum=0.25,
        ),
        Gate(
            name="random places",
            says="the same share of tokens at random places recovers less than half",
            maximum=0.5,
        ),
    ),
    study=few_tokens,
    study_says="four bases, RL and SFT of each, 16 hybrids a base; short: about 8 CPU minutes",
    minutes=8,
    refuted_if="the interval over bases of the share lies below .5",
    relations={"first-token-is-the-effect": ("extends", "the same from the side of a tuned model")},
    methods=("present-and-absent",),
    not_shown=(
        "Tokens are taken, not vectors: the paper's own control. Where the two disagree is found by asking the "
        "tuned model everywhere; the base's entropy and a probe on the base find places without it, beside."
    ),
)
