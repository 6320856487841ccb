"""Texts of a search with its dead ends teach more than its optimal path. Even if their lines are shuffled?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.search_traces_teach_search import study

CLAIM = Claim(
    id="search-traces-teach-search",
    version=2,
    question="Should a model learn from the search or from the path that it found?",
    statement=(
        "A model that is fine-tuned on linearised searches with their dead ends solves more and deeper "
        "problems than one that is fine-tuned on the same number of tokens of optimal paths."
    ),
    source="Xiang et al. 2025 (Meta-CoT), arXiv 2501.04682; Gandhi et al. 2024, arXiv 2404.03683",
    threshold=Threshold(
        estimand="effect",
        says="right answers at 3 heaps, search minus optimal path, mean over seeds",
        direction=1,
        smallest=0.05,
        why="a fifth of the 25 points that Stream of Search reports",
    ),
    gates=(
        Gate(name="search is valid", says="some of the search arm's traces are valid searches", minimum=0.05),
    ),
    controls=(
        Gate(
            name="order of the lines",
            says="the same lines in random order are not better, so the order of the search matters",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="a base, seven arms at two rates; short: one pretraining, about 30 runs of 5 to 15 s",
    minutes=5.5,
    refuted_if="the interval over seeds lies below +.05",
    methods=("meta-cot",),
    not_shown=(
        "The search here is one level deep and tries at most a dozen moves, each checked by local arithmetic. "
        "Backtracking in a tree is not tested."
    ),
)
