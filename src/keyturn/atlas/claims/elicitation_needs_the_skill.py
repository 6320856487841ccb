"""Methods that change no weight bring out a rare mode where the base has it, and nothing where it does not."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import skill

CLAIM = Claim(
    id="elicitation-needs-the-skill",
    version=1,
    question="Is what a method brings out without training in the base, or does the method put it there?",
    statement=(
        "A method that changes no weight raises success where pretraining held a rare mode of working, and "
        "does not where everything but that mode is the same."
    ),
    source="Wang and Zhou 2024, arXiv 2402.10200 (CoT paths vanish on tasks absent from pretraining)",
    threshold=Threshold(
        estimand="effect",
        says=(
            "gain of the best forced opener where 5 % of the texts are worked, minus its gain where worked "
            "texts are about another domain only; mean over bases"
        ),
        direction=1,
        smallest=0.25,
        why="a quarter of the problems: anything less would not be the mode, which is right on nearly all",
    ),
    gates=(
        Gate(name="something to gain", says="SFT on worked solutions raises success at 5 %", minimum=0.25),
        Gate(name="the mode is rare", says="plain draws are seldom worked at 5 %", maximum=0.15),
    ),
    controls=(
        Gate(
            name="RL gains nothing in the twin",
            says="RL does not reach the skill in the twin either, so it is absent there",
            maximum=0.2,
        ),
        Gate(
            name="a random vector gives nothing",
            says="a random direction at the first step gains nothing at 5 %",
            maximum=0.2,
        ),
    ),
    study=skill,
    study_says="12 bases under every row of the battery, RL and SFT of each; short: about 20 CPU minutes",
    minutes=20,
    refuted_if="the interval over bases of the difference lies below .25",
    methods=("present-and-absent",),
    not_shown=(
        "Bases of 0.13M parameters with two modes of answering. That a method elicits here shows that it can, "
        "not that its gain on a language model is of this kind; that one fails may be due to its settings, "
        "which were fixed before any run. The first control was not: it took the place of a scrambled twin "
        "after one base of both worlds had been seen."
    ),
)
