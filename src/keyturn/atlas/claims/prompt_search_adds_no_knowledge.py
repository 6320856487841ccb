"""Can a search over prompts put into a model what it does not know?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import prompt_search

CLAIM = Claim(
    id="prompt-search-adds-no-knowledge",
    version=2,
    question="Can a search over prompts put into a model what it does not know?",
    statement=(
        "A search over prompts that sees scores only finds what the base holds: where the skill was not in "
        "pretraining it gains nothing."
    ),
    source="ours, of GEPA (Agrawal et al. 2025, arXiv 2507.19457) and of prompt optimisers in general",
    threshold=Threshold(
        estimand="effect",
        says=(
            "success with the best opener of a search on development problems minus plain draws, where worked "
            "texts are about another domain only; mean over bases"
        ),
        direction=-1,
        smallest=0.05,
        why="one problem in twenty",
    ),
    gates=(
        Gate(
            name="the search finds what is there",
            says="the same search raises success where 5 % of the texts are worked",
            minimum=0.1,
        ),
        Gate(name="there is room", says="SFT raises success in the twin", minimum=0.1),
    ),
    study=prompt_search,
    study_says="ten bases under one row, RL and SFT of each; short: about 7 CPU minutes",
    minutes=7,
    refuted_if="the interval over bases of the gain lies above .05",
    relations={"elicitation-needs-the-skill": ("extends", "the same of one kind of method")},
    methods=("present-and-absent",),
    not_shown=(
        "The search chooses among five first tokens by scores on 28 development problems. An optimiser whose "
        "feedback holds gold answers can write them into the prompt; no such optimiser is tried here."
    ),
)
