"""Do thirteen trained numbers do what RL of all parameters does?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.thirteen_numbers import thirteen

CLAIM = Claim(
    id="thirteen-numbers-deploy",
    version=3,
    question="Can what RL adds be written into thirteen numbers?",
    statement=(
        "RL of 13 numbers gets about as far as RL of all parameters where the base has the skill, and nowhere "
        "where it has not."
    ),
    source="Morris et al. 2026 (TinyLoRA), arXiv 2602.04118",
    threshold=Threshold(
        estimand="effect",
        says="success after RL of 13 numbers minus success after RL of all, at 20 % worked, mean over bases",
        direction=1,
        smallest=-0.1,
        why="the paper reports nine tenths of the gain",
    ),
    gates=(Gate(name="RL learns", says="RL of all parameters raises success at 20 %", minimum=0.1),),
    controls=(
        Gate(name="coin", says="the same numbers with a coin as reward gain nothing at 20 %", maximum=0.2),
        Gate(name="absent", says="RL of 13 numbers gains nothing where the mode is absent", maximum=0.2),
    ),
    study=thirteen,
    study_says=(
        "six bases, half of them without the mode, RL of all and of 13 numbers at three rates each; short: "
        "about 8 CPU minutes"
    ),
    minutes=8,
    refuted_if="the interval over bases of the difference lies below -.1",
    relations={
        "few-parameters-suffice-for-rl": ("extends", "the same with a base that lacks the skill beside it"),
    },
    methods=("present-and-absent", "small-sets"),
    not_shown=(
        "Version 2 ended at the largest rate that it tried for the 13 numbers; version 3 tries larger ones, "
        "chosen after that. Thirteen numbers are a larger share of 0.13M parameters than of 7B. What the base "
        "has is a mode that one token opens, the easiest thing to deploy."
    ),
)
