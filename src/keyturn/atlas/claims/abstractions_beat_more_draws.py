"""Drawing abstractions and a few solutions of each beats drawing as many solutions without."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.abstractions_beat_more_draws import study
from keyturn.experiments.contract import Subject

CLAIM = Claim(
    id="abstractions-beat-more-draws",
    version=2,
    question="Is it better to draw ways to solve a problem than to draw solutions?",
    statement=(
        "A solver trained to use abstractions, and a generator trained to write useful ones, solve more "
        "problems at equal draws than RL without abstractions."
    ),
    source="Qu et al. 2025 (RLAD), arXiv 2510.02263",
    threshold=Threshold(
        estimand="effect",
        says="pass@8 with two abstractions of RLAD minus pass@8 of plain RL, mean over seeds",
        direction=1,
        smallest=0.05,
        why="one problem of twenty",
    ),
    gates=(Gate(name="RLAD learns", says="RLAD raises success given abstractions", minimum=0.0),),
    controls=(
        Gate(
            name="against random abstractions",
            says="abstractions drawn evenly do not do better by as much: the generator's choice is what helps",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="five arms on GRAPH; short: two fits, some 17 runs of 20 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("rlad",),
    not_shown=(
        "An abstraction is one word among four that the solver was taught; what texts of strong writers add is "
        "not tried, and the generator's own tokens are not charged for."
    ),
)
