"""Does sampling from a sharpened distribution do what RL does?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import sharpening

CLAIM = Claim(
    id="sharpening-matches-rl",
    version=2,
    question="Is RL more than a sharper distribution?",
    statement="Power sampling from the base is about as good as RL of the base, without training.",
    source="Karan and Du 2025, arXiv 2510.14901",
    threshold=Threshold(
        estimand="effect",
        says="success of power sampling at exponent 4 minus success after RL, at 20 % worked, mean over bases",
        direction=1,
        smallest=-0.05,
        why="'about as good' is within one problem in twenty; the paper reports 74.8 against 78.5",
    ),
    gates=(Gate(name="RL learns", says="RL raises success at 20 %", minimum=0.0),),
    study=sharpening,
    study_says="11 bases under three rows, RL and SFT of each; short: about 10 CPU minutes",
    minutes=10,
    refuted_if="the interval over bases of the difference lies below -.05",
    relations={
        "elicitation-needs-the-skill": ("extends", "sharpening moves only what has mass"),
    },
    methods=("present-and-absent",),
    not_shown=(
        "Answers here are short, and a right one has one text in either mode. So sharpening prefers the mode "
        "whose single texts are likelier, and at a small share of worked texts these are the wrong answers "
        "without steps. On language models a right answer has very many texts."
    ),
)
