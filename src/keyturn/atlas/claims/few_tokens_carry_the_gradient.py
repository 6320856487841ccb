"""A fifth of the tokens, those of high entropy, is enough for RL."""

from __future__ import annotations

from keyturn.atlas.contract import Claim, Gate, Threshold
from keyturn.experiments.contract import Subject
from keyturn.experiments.few_tokens_carry_the_gradient import study
from keyturn.experiments.objective_study import LEARNS

CLAIM = Claim(
    id="few-tokens-carry-the-gradient",
    version=2,
    question="Which tokens does RL have to move?",
    statement="Training on the fifth of the tokens with the highest entropy does as well as training on all.",
    source="Wang et al. 2025, Beyond the 80/20 rule, arXiv 2506.01939; Cui et al. 2025, arXiv 2505.22617",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, top fifth by entropy minus all tokens",
        direction=1,
        smallest=-0.03,
        why="not worse by more than the audit's margin of no change",
    ),
    gates=(Gate(name=LEARNS, says="training on all tokens raises success", minimum=0.0),),
    controls=(
        Gate(
            name="against a random fifth",
            says="the top fifth by entropy beats the same number of random tokens: not any fifth would do",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="ten objectives and the base; short: about 40 runs of 5 to 15 s",
    minutes=6.7,
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below -.03",
    methods=("token_subset", "clip_cov", "kl_cov"),
    not_shown=(
        "Dividing by the number of kept tokens also makes a larger step for each of them; the arm that "
        "divides by all tokens shows how much. Unlike in a large model, execution tokens are uncertain here "
        "too. Clip-Cov and KL-Cov act on a share of .02 of the tokens, 100 times the published 2e-4 and 10 "
        "times the published 2e-3; those shares would be one and three of a rollout's 1,800 tokens."
    ),
)
