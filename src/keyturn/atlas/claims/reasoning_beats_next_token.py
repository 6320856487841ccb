"""RL on next-token prediction predicts hard tokens better than plain training. Or is it the thought that
helps?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.reasoning_beats_next_token import study

CLAIM = Claim(
    id="reasoning-beats-next-token",
    version=1,
    question="Can RL teach reasoning with next-token prediction as its task?",
    statement=(
        "A model that is rewarded for predicting hard tokens after reasoning predicts them better than one "
        "that was trained on the same text by plain next-token prediction."
    ),
    source="Dong et al. 2025, Reinforcement Pre-Training, arXiv 2506.08007",
    threshold=Threshold(
        estimand="effect",
        says="right predictions at filtered positions, RPT with thought minus plain training at equal compute",
        direction=1,
        smallest=0.02,
        why="the paper reports 3.3 points at its hardest positions",
    ),
    gates=(
        Gate(name="plain training learns", says="plain training predicts better than the base", minimum=0.0),
    ),
    controls=(
        Gate(
            name="training adds to thought",
            says="the gain exceeds what thought brings to the untrained base",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="four arms and the base; short: about 25 runs of 3 to 10 s",
    minutes=2.7,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("rpt",),
    not_shown=(
        "Most tokens that pass the filter here are random choices of a generator, which no reasoning can find, "
        "and about one in five is an answer. Natural text has other shares. Thought costs tokens when "
        "predicting, and plain training gets none there."
    ),
)
