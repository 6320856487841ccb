"""Learning from wrong answers alone preserves coverage; learning from right answers alone reduces it."""

from __future__ import annotations

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.objectives.grpo import grpo
from keyturn.objectives.signed import SignedConfig, signed


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare positive-only, negative-only and weighted REINFORCE with GRPO."""
    return objectives_on(
        lab,
        subject,
        {
            "GRPO": grpo(),
            "positive only": signed(SignedConfig(evidence="positive")),
            "negative only": signed(SignedConfig(evidence="negative")),
            "weighted": signed(SignedConfig(evidence="weighted")),
            "negative only, over all": signed(SignedConfig(evidence="negative", denominator="all")),
        },
        {
            "effect": ("negative only", "positive only", "pass@16"),
            "at one draw": ("negative only", "positive only", "success"),
            "negative, against the base": ("negative only", "base", "success"),
            "negative, coverage": ("negative only", "base", "pass@16"),
            "positive, coverage": ("positive only", "base", "pass@16"),
            "coverage to keep": ("GRPO", "base", "pass@16"),
            "weighted, coverage": ("weighted", "GRPO", "pass@16"),
            "weighted, one draw": ("weighted", "GRPO", "success"),
            "entropy": ("negative only", "positive only", "entropy"),
            "over all rows": ("negative only, over all", "negative only", "success"),
        },
    )
