"""Rewarding each step's likeness to an expert's (SRL) teaches problems on which outcome rewards cannot
start."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.steps_unlock_hard_problems import study

CLAIM = Claim(
    id="steps-unlock-hard-problems",
    version=1,
    question="How can a model learn problems that its base never solves?",
    statement=(
        "If no answer earns an outcome reward, rewarding each step's likeness to an expert's step teaches more "
        "than imitating the same steps, and RLVR afterwards adds to it."
    ),
    source="Supervised Reinforcement Learning, ICLR 2026, OpenReview Uro84w2xz5",
    threshold=Threshold(
        estimand="effect",
        says="verified answers on test problems, SRL minus the better of RLVR and SFT on steps",
        direction=1,
        smallest=0.05,
        why="one problem in twenty; the base solves fewer than one in a thousand",
    ),
    gates=(Gate(name="base", says="the base hardly solves these problems", maximum=0.02),),
    controls=(
        Gate(
            name="placebo",
            says="likeness to the steps of other problems, which is form alone, does not raise success",
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="seven variants and the base on CHAIN at depth 5; short: about 30 runs of 3 to 8 s",
    minutes=2.8,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("srl",),
    not_shown=(
        "Steps here have one valid form, so likeness never penalises a good paraphrase, which is its known "
        "weakness. There is no monologue before a step. The expert's steps teach: nothing here was latent in "
        "the base."
    ),
)
