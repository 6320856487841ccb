"""Imitating an expert beside RL, with a fading or token-wise weight (CHORD), beats imitating first and RL
after."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.imitate_beside_rl import study

CLAIM = Claim(
    id="imitate-beside-rl",
    version=1,
    question="Should imitation come before RL, or beside it?",
    statement=(
        "Demonstrations in another style first lower success, then it recovers, then it declines (shift, "
        "re-adapt, overfit); as a weighted term beside RL they help more than as a stage before it."
    ),
    source="Zhang et al. 2025 (CHORD), arXiv 2508.11408",
    threshold=Threshold(
        estimand="effect",
        says="verified answers, CHORD with phi minus the better of RL and of the best switch from SFT to RL",
        direction=1,
        smallest=0.02,
        why="the paper's gains over its best SFT followed by RL are 1 to 2.4 points",
    ),
    gates=(
        Gate(name="shift", says="imitation does lower success at first: the style is foreign", maximum=0.0),
    ),
    controls=(Gate(name="RL learns", says="RL alone is not broken at these sizes", minimum=-0.02),),
    study=study,
    study_says="four points of SFT, three switches, RL, five ways of CHORD; short: some 50 runs of 2 to 12 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("chord", "sft-then-rl"),
    not_shown=(
        "Mu is no share of the learning: the two terms differ in scale, so equal mu means other things with "
        "and without phi. The rate of SFT is fixed so that its curve is one curve; only RL's is chosen. The "
        "style is a manner of a program, some ten tokens longer, not a reasoning model's."
    ),
)
