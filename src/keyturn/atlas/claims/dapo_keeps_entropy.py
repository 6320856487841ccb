"""Clip-higher and a token mean keep exploration alive, while entropy collapses with symmetric clipping."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.objective_gates import GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.dapo_keeps_entropy import study

CLAIM = Claim(
    id="dapo-keeps-entropy",
    version=2,
    question="Does the clip range decide how much a policy keeps exploring?",
    statement="A higher upper clip range leaves room for unlikely tokens, so entropy stays higher.",
    source="Yu et al. 2025 (DAPO), arXiv 2503.14476, section 3.1",
    threshold=Threshold(
        estimand="effect",
        says="mean entropy over all steps of training in nats per token, DAPO with upper range .28 minus .2",
        direction=1,
        smallest=0.01,
        why="a tenth of this base's entropy during training with GRPO, about .1 nats",
    ),
    gates=(GRPO_LEARNS,),
    controls=(
        Gate(
            name="entropy bonus",
            says="an entropy bonus raises entropy, so a difference could be seen",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="four objectives and the base, four updates per rollout; short: about 16 runs of 5 to 20 s",
    minutes=3.3,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.01 nats",
    methods=("dapo", "grpo"),
    not_shown=(
        "Dynamic sampling and the penalty on overlong answers are left out (about 3 % of answers are cut "
        "here). Twenty steps cannot show a collapse over thousands. Validation chooses each arm's learning "
        "rate, which also changes entropy."
    ),
)
