"""Training for pass@k preserves the coverage that training for pass@1 loses."""

from __future__ import annotations

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.objectives.grpo import grpo
from keyturn.objectives.passk_grpo import PasskGrpoConfig, passk_grpo


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare GRPO with the gradient of pass@4 and pass@8 at the same number of draws."""
    return objectives_on(
        lab,
        subject,
        {
            "GRPO": grpo(),
            "pass@4": passk_grpo(PasskGrpoConfig(k=4)),
            "pass@8": passk_grpo(PasskGrpoConfig(k=8)),
        },
        {
            "effect": ("pass@4", "GRPO", "pass@16"),
            "pass@8 objective": ("pass@8", "GRPO", "pass@16"),
            "cost at one draw": ("pass@4", "GRPO", "success"),
            "gain at one draw": ("pass@4", "base", "success"),
            "against the base": ("pass@4", "base", "pass@16"),
            "coverage to keep": ("GRPO", "base", "pass@16"),
        },
    )
