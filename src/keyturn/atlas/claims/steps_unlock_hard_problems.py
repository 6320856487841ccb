"""Rewarding each step's likeness to an expert's (SRL) teaches problems that outcome rewards cannot begin on."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.steps_unlock_hard_problems import study

CLAIM = Claim(
    id="steps-unlock-hard-problems",
    version=1,
    question="What teaches problems that the base never solves?",
    statement=(
        "Where outcome rewards have nothing to reward, paying for each step's likeness to an expert's step "
        "teaches, and more than imitating the same steps; RLVR afterwards adds to it."
    ),
    source="Supervised Reinforcement Learning, ICLR 2026, OpenReview Uro84w2xz5",
    threshold=Threshold(
        estimand="effect",
        says="verified answers on test problems, SRL minus the better of RLVR and SFT on steps",
        direction=1,
        smallest=0.05,
        why="one problem in twenty, where the base solves fewer than one in a thousand",
    ),
    gates=(Gate(name="base", says="the base hardly solves these problems", maximum=0.02),),
    controls=(
        Gate(
            name="placebo",
            says="likeness to other problems' steps, form alone, does not raise success",
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="seven ways and the base on CHAIN at depth 5; short: some 30 runs of 3 to 8 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("srl",),
    not_shown=(
        "Steps here have one valid form, so likeness never punishes a good paraphrase, which is its known "
        "fault. There is no monologue before a step. The expert's steps are teaching: nothing here was latent."
    ),
)
