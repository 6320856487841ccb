"""RL needs only a fifth of the tokens: those with the highest entropy."""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.methods.spurious import UNCLIPPED
from keyturn.objectives.clip_cov import ClipCovConfig, clip_cov
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.kl_cov import KlCovConfig, kl_cov
from keyturn.objectives.token_subset import TokenSubsetConfig, token_subset

ALL = DapoConfig(overlong_filter=False)
"""The other arms also have no filter and use this clip range. KL-Cov has no clipping, so it has its own
control."""


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare all tokens, a fifth by entropy or at random, plan or execution tokens, and clipped or penalised
    covariance. All use one clip range and no filter, so that only the tokens differ."""
    return objectives_on(
        lab,
        subject,
        {
            "all tokens": dapo(ALL),
            "top entropy": token_subset(TokenSubsetConfig(tokens="top_entropy")),
            "top entropy, over all": token_subset(TokenSubsetConfig(tokens="top_entropy", denominator="all")),
            "low entropy": token_subset(TokenSubsetConfig(tokens="low_entropy")),
            "random fifth": token_subset(TokenSubsetConfig(tokens="random")),
            "plan only": token_subset(TokenSubsetConfig(tokens="plan")),
            "execution only": token_subset(TokenSubsetConfig(tokens="execution")),
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
