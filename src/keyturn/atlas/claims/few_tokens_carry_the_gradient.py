"""A fifth of the tokens, those of high entropy, is enough for RL."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.objective_study import LEARNS, objectives_on
from keyturn.objectives.clip_cov import ClipCovConfig, clip_cov
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.kl_cov import KlCovConfig, kl_cov
from keyturn.objectives.where import WhereConfig, where
from keyturn.training.lab import Lab
from keyturn.training.recipes.spurious import UNCLIPPED

ALL = DapoConfig(overlong_filter=False)
"""The others have no filter either, and this clip range; KL-Cov has none, so it has a control of its own."""


def study(lab: Lab, subject: Subject) -> Outcome:
    """All tokens; a fifth by entropy or at random; plan, execution; covariance clipped or penalised: with one
    clip range and no filter, so that tokens alone differ."""
    return objectives_on(
        lab,
        subject,
        {
            "all tokens": dapo(ALL),
            "top entropy": where(WhereConfig(tokens="top_entropy")),
            "top entropy, over all": where(WhereConfig(tokens="top_entropy", denominator="all")),
            "low entropy": where(WhereConfig(tokens="low_entropy")),
            "random fifth": where(WhereConfig(tokens="random")),
            "plan only": where(WhereConfig(tokens="plan")),
            "execution only": where(WhereConfig(tokens="execution")),
            "Clip-Cov": clip_cov(ClipCovConfig(share=0.02, clip_high=ALL.clip_high)),
            "KL-Cov": kl_cov(KlCovConfig(share=0.02)),
            "all tokens, no clip": dapo(replace(ALL, clip_low=UNCLIPPED, clip_high=UNCLIPPED)),
        },
        {
            "effect": ("top entropy", "all tokens", "success"),
            "over all tokens": ("top entropy, over all", "all tokens", "success"),
            "against a random fifth": ("top entropy", "random fifth", "success"),
            "low entropy": ("low entropy", "all tokens", "success"),
            "plan only": ("plan only", "all tokens", "success"),
            "execution only": ("execution only", "all tokens", "success"),
            "Clip-Cov, entropy": ("Clip-Cov", "all tokens", "entropy"),
            "Clip-Cov, success": ("Clip-Cov", "all tokens", "success"),
            "KL-Cov, entropy": ("KL-Cov", "all tokens, no clip", "entropy"),
            "KL-Cov, success": ("KL-Cov", "all tokens, no clip", "success"),
            "no clip": ("all tokens, no clip", "all tokens", "success"),
        },
        updates=2,
    )


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
            says="the top fifth by entropy beats as many tokens at random: it is not that any fifth would do",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="ten objectives and the base; short: some 40 runs of 5 to 15 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below -.03",
    methods=("where", "clip_cov", "kl_cov"),
    not_shown=(
        "A fifth of the tokens divided by their own number is also a larger step for each of them: the arm "
        "divided by all tokens says how much. Execution here is uncertain too, unlike in a large model. "
        "Clip-Cov and KL-Cov act on a share of .02 of the tokens, a hundred and ten times the published 2e-4 "
        "and 2e-3, which would be one and three of a rollout's 1,800 tokens."
    ),
)
