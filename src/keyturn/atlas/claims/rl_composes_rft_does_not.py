"""RL on outcome rewards learns to compose known atoms; imitating its own successes does not generalise."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rl_composes_rft_does_not import study

CLAIM = Claim(
    id="rl-composes-rft-does-not",
    version=3,
    question="Does RL create a skill that a model does not get by imitating its own successes?",
    statement=(
        "A model that knows single functions learns from outcome rewards to compose them, also at greater "
        "depths than it was trained on; rejection fine-tuning on the same successes does not."
    ),
    source="Yuan et al. 2025, From f(x) and g(x) to f(g(x)), arXiv 2509.25123",
    threshold=Threshold(
        estimand="effect",
        says="success at depth 5, RL minus one round of rejection fine-tuning, mean over seeds",
        direction=1,
        smallest=0.1,
        why="one problem in ten, two depths beyond training",
    ),
    gates=(
        Gate(name="RL learns", says="RL raises success at that depth", minimum=0.0),
        Gate(name="base, absent", says="the base does not compose yet", maximum=0.2),
    ),
    controls=(
        Gate(
            name="RFT learns where it is trained",
            says="rejection fine-tuning raises success at depth 2, so it is not simply broken",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six arms on each of three CHAIN bases; short: two pretrainings, about 70 runs of 4 to 12 s",
    minutes=10,
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +0.1",
    methods=("rejection", "grpo"),
    not_shown=(
        "There is one base, of 0.35M parameters. Traces here show every step, while the paper's model must "
        "compose in its own text. If RL does not learn the other problems, its failure to learn the absent "
        "atom shows nothing. One answer in seven is right by luck; the table also has the arm that keeps only "
        "verified traces, whose difference is not the same."
    ),
)
