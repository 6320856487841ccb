"""Importance ratios of whole sequences (GSPO) compared with those of tokens, and other policy gradients."""

from __future__ import annotations

from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.objective_study import objectives_on
from keyturn.lab.lab import Lab
from keyturn.objectives.cispo import cispo
from keyturn.objectives.grpo import grpo
from keyturn.objectives.gspo import GspoConfig, gspo
from keyturn.objectives.reinforce import reinforce
from keyturn.objectives.reinforce_pp import reinforce_pp
from keyturn.objectives.rloo import rloo


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare seven policy gradients at four updates per rollout, where ratios differ from 1."""
    others = {
        "GSPO": gspo(),
        "GSPO, token form": gspo(GspoConfig(form="token")),
        "CISPO": cispo(),
        "RLOO": rloo(),
        "REINFORCE": reinforce(),
        "REINFORCE++": reinforce_pp(),
    }
    return objectives_on(
        lab,
        subject,
        {"GRPO": grpo(), **others},
        {
            "effect": ("GSPO", "GRPO", "auc"),
            **{f"success, {name}": (name, "GRPO", "success") for name in others},
        },
        updates=4,
    )
