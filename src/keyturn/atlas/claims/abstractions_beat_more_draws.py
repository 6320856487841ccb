"""Drawing abstractions and a few solutions for each beats drawing the same number of solutions without them."""

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
        "problems at the same number of draws than RL without abstractions."
    ),
    source="Qu et al. 2025 (RLAD), arXiv 2510.02263",
    threshold=Threshold(
        estimand="effect",
        says="pass@8 of RLAD with two abstractions minus pass@8 of plain RL, mean over seeds",
        direction=1,
        smallest=0.05,
        why="one problem in twenty",
    ),
    gates=(Gate(name="RLAD learns", says="RLAD raises success given abstractions", minimum=0.0),),
    controls=(
        Gate(
            name="against random abstractions",
            says="abstractions drawn at random are not better by .05: the generator's choice helps",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="five arms on GRAPH; short: two fits, about 17 runs of 20 s",
    minutes=5.7,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("rlad",),
    not_shown=(
        "An abstraction is one of four words that the solver was taught. Abstractions written as text by "
        "strong models are not tried, and the generator's own tokens are not counted."
    ),
)
