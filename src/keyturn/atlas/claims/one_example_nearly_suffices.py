"""RL on one well-chosen example does about as well as on the pool, and keeps improving after mastering it."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.one_example_nearly_suffices import study

CLAIM = Claim(
    id="one-example-nearly-suffices",
    version=2,
    question="How little data does RL need to bring out what a base can do?",
    statement=(
        "RL on one example, the one whose accuracy varied most in a warm-up, raises success on other problems "
        "about as much as RL on the whole pool it was chosen from."
    ),
    source="Wang et al. 2025, arXiv 2504.20571",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, one example minus the whole pool, mean over seeds",
        direction=1,
        smallest=-0.05,
        why="the paper's example is within a point of its pool of 1,209; 3 seeds can show about five points",
    ),
    gates=(Gate(name="pool - base", says="RL on the pool raises success", minimum=0.0),),
    controls=(
        Gate(
            name="beyond form",
            says=(
                "one example brings more than reward for form alone, which makes most of the paper's headline "
                "gain"
            ),
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="seven selections and the base; short: about 28 runs of 8 to 16 s",
    minutes=5.6,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds of one example minus the pool lies below -.05",
    methods=("one-shot",),
    not_shown=(
        "Problems of one operation share one strategy, so one example may represent all of them by "
        "construction. Problems that need different skills are not tried. The ranking comes from a single "
        "warm-up."
    ),
)
