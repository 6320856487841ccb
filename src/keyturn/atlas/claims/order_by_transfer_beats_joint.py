"""Tasks learnt one after another in the order that transfer suggests end better than tasks learnt together."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.order_by_transfer_beats_joint import study

CLAIM = Claim(
    id="order-by-transfer-beats-joint",
    version=1,
    question="Does the order in which RL learns tasks matter, and does transfer predict the best order?",
    statement=(
        "Tasks learnt one after another, beginning with the one that the others harm least, end at a higher "
        "mean score than the same tasks learnt together."
    ),
    source="Omni-Thinker 2025, arXiv 2507.14783 (+6.2 % over joint, +12.4 % over merging)",
    threshold=Threshold(
        estimand="effect",
        says="mean score over three tasks, ordered by transfer minus learnt jointly, mean over seeds",
        direction=1,
        smallest=0.02,
        why="two points of mean reward, which is 6 % of a score of one third",
    ),
    gates=(
        Gate(name="RL learns", says="RL raises the mean score", minimum=0.0),
        Gate(name="score before", says="there is room for improvement", minimum=0.05, maximum=0.9),
    ),
    controls=(
        Gate(
            name="against the reverse",
            says="the reversed order is not better by .02: the order by transfer matters",
            minimum=-0.02,
        ),
    ),
    study=study,
    study_says="six arms on three worlds of one vocabulary; short: one fit, about 60 stages of 3 s",
    minutes=3,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("omni", "rarity"),
    not_shown=(
        "Three small worlds stand for coding, mathematics, question answering and writing, and there is no "
        "judge model. The order is chosen on validation problems by transfer, measured once per seed and "
        "learning rate."
    ),
)
