"""Texts of a search, dead ends included, teach more than its optimal path; also if their lines are shuffled?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.search_traces_teach_search import study

CLAIM = Claim(
    id="search-traces-teach-search",
    version=2,
    question="Should a model learn from the search or from the path that it found?",
    statement=(
        "Fine-tuned on linearised searches with their dead ends a model solves more, and deeper problems, "
        "than fine-tuned on optimal paths at equal tokens."
    ),
    source="Xiang et al. 2025 (Meta-CoT), arXiv 2501.04682; Gandhi et al. 2024, arXiv 2404.03683",
    threshold=Threshold(
        estimand="effect",
        says="right answers at 3 heaps, search minus optimal path, mean over seeds",
        direction=1,
        smallest=0.05,
        why="Stream of Search has 25 points; a fifth of that",
    ),
    gates=(Gate(name="search is valid", says="some of its traces are valid searches", minimum=0.05),),
    controls=(
        Gate(
            name="order of the lines",
            says="the same lines in any order do not do better, so that it is a search that is learnt",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="a base, seven arms at two rates; short: one pretraining, some 30 runs of 5 to 15 s",
    refuted_if="the interval over seeds lies below +.05",
    methods=("meta-cot",),
    not_shown=(
        "The search here is one level deep and goes through at most a dozen moves, each checked by local "
        "arithmetic; nothing is learnt about when to go back in a tree."
    ),
)
