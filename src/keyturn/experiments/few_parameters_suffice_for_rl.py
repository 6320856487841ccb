"""A bias per layer is enough for RL but not for SFT. Does it have to be the bias, or would any few weights
do?"""

from __future__ import annotations

from dataclasses import replace

from keyturn.experiments.arms import (
    CHAIN_RL,
    base_arm,
    embedded_task,
    method_arm,
    numbers_on_test,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, over_seeds, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.methods.sft import TINY
from keyturn.methods.small_sets import METHOD as SMALL_SETS
from keyturn.methods.small_sets import Chosen, SmallSetsConfig
from keyturn.policies.optimise import FitConfig

RATES = (3e-4, 1e-3, 1e-2)
"""Learning rates of every arm; small sets need about ten times the rate of full training."""
FULL_RATE = 1e-3
"""Learning rate of the full run whose largest changes define the hindsight mask."""
FIT: FitConfig = replace(TINY, steps=120, weight_decay=0.0)


def arm(name: str, config: SmallSetsConfig) -> Arm:
    """An arm that trains a set by RL or SFT at the arm's learning rate."""

    def configured(lr: float) -> SmallSetsConfig:
        return replace(config, rl=replace(config.rl, lr=lr), fit=replace(config.fit, lr=lr))

    return method_arm(name, SMALL_SETS, configured)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Train five sets by RL and four by SFT on one base."""
    task = embedded_task(lab, subject.base)
    config = SmallSetsConfig(rl=steps_for(CHAIN_RL, subject.profile), fit=FIT, full_lr=FULL_RATE)
    rewarded: tuple[Chosen, ...] = ("full", "bias", "rank-1", "random", "hindsight")
    shown: tuple[Chosen, ...] = ("full", "bias", "rank-1", "hindsight")
    arms = [
        base_arm(),
        *(arm(f"RL {name}", replace(config, chosen=name, learn="rl")) for name in rewarded),
        *(arm(f"SFT {name}", replace(config, chosen=name, learn="sft")) for name in shown),
    ]
    sizes = replace(sizes_for(subject.profile), lrs=RATES)
    runs = run_plan(Session(lab, task), arms, sizes, numbers_on_test(16), name="few parameters")

    def against(arm: str, control: str):
        return contrast(runs, arm, control, "success")

    def lost(arm: str, whole: str):
        return values(runs, arm, "success") - values(runs, whole, "success")

    def less_lost(name: Chosen):
        return over_seeds(
            f"success: (RL {name} - RL full) - (SFT {name} - SFT full)",
            lost(f"RL {name}", "RL full") - lost(f"SFT {name}", "SFT full"),
        )

    numbers = {
        "effect": less_lost("bias"),
        "rank-1": less_lost("rank-1"),
        "hindsight mask": less_lost("hindsight"),
        "RL bias learns": against("RL bias", "base"),
        "RL learns": against("RL full", "base"),
        "SFT learns": against("SFT full", "base"),
        "RL bias less RL full": against("RL bias", "RL full"),
        "SFT bias less SFT full": against("SFT bias", "SFT full"),
        "RL rank-1 less RL full": against("RL rank-1", "RL full"),
        "SFT rank-1 less SFT full": against("SFT rank-1", "SFT full"),
        "bias less any few weights": against("RL bias", "RL random"),
        "hindsight mask less any few weights": against("RL hindsight", "RL random"),
        "hindsight mask less RL full": against("RL hindsight", "RL full"),
        "SFT hindsight mask less SFT full": against("SFT hindsight", "SFT full"),
    }
    return outcome_of(
        Session(lab, task),
        runs,
        numbers,
        setting=(
            f"base {subject.base!r}; {config.rl.steps} RL steps of {config.rl.prompts} x {config.rl.draws} "
            f"draws, or {FIT.steps} steps of SFT on gold traces; masks have as many numbers as the biases, a "
            "rank-1 adapter stands at every matrix but the head; rates "
            f"{', '.join(f'{rate:g}' for rate in sizes.lrs)} for every arm"
        ),
    )
