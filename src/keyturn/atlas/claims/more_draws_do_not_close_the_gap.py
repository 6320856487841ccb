"""Does more compute at inference close the gap to a tuned model?"""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.elicitation_studies import more_draws

CLAIM = Claim(
    id="more-draws-do-not-close-the-gap",
    version=2,
    question="Does more compute at inference close the gap to a tuned model?",
    statement="A base that votes over 64 draws stays substantially behind a tuned model that draws once.",
    source="Wang et al. 2025, arXiv 2504.14047",
    threshold=Threshold(
        estimand="effect",
        says="success after SFT on worked solutions minus success of a majority of 64, at 5 % worked",
        direction=1,
        smallest=0.1,
        why="'substantially' is one problem in ten",
    ),
    gates=(Gate(name="there is a gap", says="SFT is better than plain draws at 5 %", minimum=0.1),),
    study=more_draws,
    study_says="eight bases under two rows, RL and SFT of each; short: about 5 CPU minutes",
    minutes=5,
    refuted_if="the interval over bases of the difference lies below .1",
    relations={"sharpening-matches-rl": ("tension", "that one says a better sampler is enough")},
    methods=("present-and-absent",),
    not_shown=(
        "A vote follows the commonest answer, so whether it closes the gap depends on the share of worked "
        "texts; 20 % stands beside 5 %. The verifier's choice shows what the same draws hold."
    ),
)
