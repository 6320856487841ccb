"""RL on outcome rewards learns to compose known atoms; imitating one's own successes does not go beyond."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.rl_composes_rft_does_not import study

CLAIM = Claim(
    id="rl-composes-rft-does-not",
    version=3,
    question="Does RL create a skill that imitating one's own successes does not?",
    statement=(
        "A model that knows functions one by one learns to compose them from outcome rewards, and goes on "
        "beyond the depths it was trained at; rejection fine-tuning on the same successes does not."
    ),
    source="Yuan et al. 2025, From f(x) and g(x) to f(g(x)), arXiv 2509.25123",
    threshold=Threshold(
        estimand="effect",
        says="success at depth 5, RL minus one round of rejection fine-tuning, mean over seeds",
        direction=1,
        smallest=0.1,
        why="a tenth of the problems two depths beyond training",
    ),
    gates=(
        Gate(name="RL learns", says="RL learnt something at that depth", minimum=0.0),
        Gate(name="base, absent", says="the base does not compose already", maximum=0.2),
    ),
    controls=(
        Gate(
            name="RFT learns where it is trained",
            says="rejection fine-tuning raises success at depth 2, so that it is not simply broken",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six arms on each of three CHAIN bases; short: two pretrainings, some 70 runs of 4 to 12 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +0.1",
    methods=("rejection", "grpo"),
    not_shown=(
        "One base of 0.35M parameters stands for all; traces here show every step, where the paper's model "
        "must compose in text of its own. Where RL does not learn the rest of the problems, its failing to "
        "learn the absent atom says nothing. One right answer in seven is luck; where "
        "only verified traces are kept the difference is another one, and it is in the table."
    ),
)
