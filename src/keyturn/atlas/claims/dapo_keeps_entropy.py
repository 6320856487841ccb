"""Clip-higher and a token mean keep exploration alive where symmetric clipping lets entropy collapse."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.atlas.objective_gates import GRPO_LEARNS
from keyturn.experiments.contract import Subject
from keyturn.experiments.dapo_keeps_entropy import study

CLAIM = Claim(
    id="dapo-keeps-entropy",
    version=2,
    question="Does the clip range decide how much a policy goes on exploring?",
    statement="A higher upper clip range leaves room for unlikely tokens, so entropy stays higher.",
    source="Yu et al. 2025 (DAPO), arXiv 2503.14476, section 3.1",
    threshold=Threshold(
        estimand="effect",
        says="mean entropy over all steps of training in nats per token, DAPO with upper range .28 minus .2",
        direction=1,
        smallest=0.01,
        why="a tenth of what this base has while GRPO trains it, about .1 nats",
    ),
    gates=(GRPO_LEARNS,),
    controls=(
        Gate(
            name="entropy bonus",
            says="a bonus that asks for entropy does raise it, so that a difference could be seen",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="four objectives and the base at four updates per rollout; short: some 16 runs of 5 to 20 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.01 nats",
    methods=("dapo", "grpo"),
    not_shown=(
        "Dynamic sampling and the punishment of overlong answers are left out (some three answers in a hundred "
        "are cut here); twenty steps are no collapse over thousands. Validation chooses each arm's rate, and "
        "another rate is another entropy."
    ),
)
