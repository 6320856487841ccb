"""Clip-higher and a token mean preserve exploration; symmetric clipping lets entropy collapse."""

from __future__ import annotations

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.objectives.dapo import DapoConfig, dapo
from keyturn.objectives.grpo import GrpoConfig, grpo

OVER = "entropy over training"
"""Entropy at the end alone would compare policies that have almost none left."""


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare DAPO's loss with and without clip-higher, and GRPO with an entropy bonus, at four updates per
    rollout."""
    return objectives_on(
        lab,
        subject,
        {
            "GRPO": grpo(),
            "DAPO": dapo(),
            "DAPO, clip .2": dapo(DapoConfig(clip_high=0.2)),
            "GRPO, entropy bonus": grpo(GrpoConfig(entropy_weight=0.01)),
        },
        {
            "effect": ("DAPO", "DAPO, clip .2", OVER),
            "at the end": ("DAPO", "DAPO, clip .2", "entropy"),
            "success": ("DAPO", "GRPO", "success"),
            "coverage": ("DAPO", "GRPO", "pass@16"),
            "entropy bonus": ("GRPO, entropy bonus", "GRPO", OVER),
            "entropy bonus, at the end": ("GRPO, entropy bonus", "GRPO", "entropy"),
            "entropy bonus, success": ("GRPO, entropy bonus", "GRPO", "success"),
        },
        updates=4,
    )
