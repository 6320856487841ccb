"""Methods that change no weight bring out a rare mode where the base has it, and nothing where it does not."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import skill

CLAIM = Claim(
    id="elicitation-needs-the-skill",
    version=2,
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
            name="scrambled steps give nothing",
            says="the opener gains nothing where the steps of the worked texts stand in random order",
            maximum=0.2,
        ),
        Gate(
            name="random directions give nothing",
            says="random directions at the first step, four to a base, gain nothing at 5 %",
            maximum=0.2,
        ),
    ),
    study=skill,
    study_says=(
        "15 bases under every row of the battery (5 % worked, another domain, scrambled), 9 under some (20 %, "
        "1 %, another context), RL and SFT of each; short: about 25 CPU minutes"
    ),
    minutes=25,
    refuted_if="the interval over bases of the difference lies below .25",
    methods=("present-and-absent",),
    not_shown=(
        "Bases of 0.13M parameters with two modes of answering. That a method elicits here shows that it can, "
        "not that its gain on a language model is of this kind; that one fails may be due to its settings, "
        "which were fixed before any run. Version 1 was invalid: three bases could not tell whether a random "
        "direction gains nothing, and one control had replaced another after a base had been "
        "seen. Version 2 has both controls, new bases, and five of them with four directions each: by a "
        "simulation with version 1's gains the control on random directions is then held in .99 of studies, "
        "and in .02 where the mean gain is .2; with three bases and one direction it is held in .40. The "
        "share of worked plain draws came out the same on all bases; its interval is then over problems, by a "
        "rule that was written before the run and whose code for shares was added after it. RL is paid for "
        "answers that are right and worked, so in a twin it has nothing to learn from."
    ),
)
