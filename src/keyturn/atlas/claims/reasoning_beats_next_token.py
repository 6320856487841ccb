"""RL on what comes next predicts hard tokens better than plain training; or is it thought that does it?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.reasoning_beats_next_token import study

CLAIM = Claim(
    id="reasoning-beats-next-token",
    version=1,
    question="Is predicting text a task that RL can teach reasoning with?",
    statement=(
        "Rewarded for right predictions of hard tokens after reasoning, a model predicts them better than "
        "one that was trained on the same text by plain next-token prediction."
    ),
    source="Dong et al. 2025, Reinforcement Pre-Training, arXiv 2506.08007",
    threshold=Threshold(
        estimand="effect",
        says="right predictions at filtered positions, RPT after thought minus plain training at equal compute",
        direction=1,
        smallest=0.02,
        why="the paper has 3.3 points at its hardest positions",
    ),
    gates=(
        Gate(name="plain training learns", says="plain training predicts better than the base", minimum=0.0),
    ),
    controls=(
        Gate(
            name="training adds to thought",
            says="it is more than the thought that the base has untrained",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="four arms and the base; short: some 25 runs of 3 to 10 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("rpt",),
    not_shown=(
        "Most tokens that pass the filter here are free choices of a generator, which nobody can reason out, "
        "and one in a handful is an answer; natural text has its own shares. Thought costs tokens when "
        "predicting, and plain training is not given any there."
    ),
)
