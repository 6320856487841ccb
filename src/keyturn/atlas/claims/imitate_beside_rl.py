"""Imitating an expert during RL, with a fading or token-wise weight (CHORD), beats imitating before RL."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.imitate_beside_rl import study

CLAIM = Claim(
    id="imitate-beside-rl",
    version=1,
    question="Should imitation come before RL, or run alongside it?",
    statement=(
        "Under SFT on demonstrations in another style success first falls, then recovers, then declines "
        "(shift, re-adapt, overfit). As a weighted term of RL they help more than as a stage before it."
    ),
    source="Zhang et al. 2025 (CHORD), arXiv 2508.11408",
    threshold=Threshold(
        estimand="effect",
        says="verified answers, CHORD with phi minus the better of RL and the best switch from SFT to RL",
        direction=1,
        smallest=0.02,
        why="the paper's gains over its best SFT followed by RL are 1 to 2.4 points",
    ),
    gates=(Gate(name="shift", says="imitation lowers success at first: the style is foreign", maximum=0.0),),
    controls=(Gate(name="RL learns", says="RL alone is not broken at these sizes", minimum=-0.02),),
    study=study,
    study_says=(
        "SFT at four lengths, three switches, RL, five CHORD variants; short: about 50 runs of 2 to 12 s"
    ),
    minutes=5.8,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("chord", "sft-then-rl"),
    not_shown=(
        "Mu is not a share of the learning: the two terms differ in scale, so equal mu means different things "
        "with and without phi. SFT's learning rate is fixed, so that its points form one curve; only RL's is "
        "chosen. The style is a program's, about ten tokens longer, and not a reasoning model's."
    ),
)
