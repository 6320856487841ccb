"""GRPO's token mean penalises long wrong answers less; a constant denominator (Dr. GRPO) does not."""

from __future__ import annotations

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.objectives.dr_grpo import dr_grpo
from keyturn.objectives.grpo import GrpoConfig, grpo


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare GRPO, Dr. GRPO, and GRPO with only one of the two changes."""
    return objectives_on(
        lab,
        subject,
        {
            "GRPO": grpo(),
            "Dr. GRPO": dr_grpo(),
            "no std": grpo(GrpoConfig(scale="none")),
            "constant length": grpo(GrpoConfig(aggregation="seq-mean-token-sum-norm")),
        },
        {
            "effect": ("Dr. GRPO", "GRPO", "length wrong"),
            "length alone": ("constant length", "GRPO", "length wrong"),
            "std alone": ("no std", "GRPO", "length wrong"),
            "growth": ("GRPO", "base", "length wrong"),
            "Dr. GRPO, growth": ("Dr. GRPO", "base", "length wrong"),
            "success": ("Dr. GRPO", "GRPO", "success"),
        },
    )
