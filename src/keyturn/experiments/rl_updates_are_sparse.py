"""RL changes few weights while SFT changes most. What remains of that at one learning rate and in full
precision?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from keyturn.experiments.arms import CHAIN_RL, base_arm, embedded_task, method_arm, numbers_of, sizes_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.precision import METHOD as PRECISION
from keyturn.methods.precision import PrecisionConfig, Regime, changed, on_grid

LOW, HIGH = 1e-5, 1e-3
STEPS = 30
ARMS: tuple[tuple[Literal["RL", "SFT"], Regime, float], ...] = (
    ("RL", "fp32", LOW),
    ("SFT", "fp32", LOW),
    ("RL", "fp32", HIGH),
    ("SFT", "fp32", HIGH),
    ("RL", "master", HIGH),
    ("RL", "bf16", LOW),
    ("SFT", "bf16", LOW),
)


def arm_of(how: Literal["RL", "SFT"], regime: Regime, lr: float, config: PrecisionConfig) -> Arm:
    """An arm at a fixed rate: here the learning rate is the variable under study and is not chosen."""
    own = replace(config, learn=how, regimes=(regime,), rates=(lr,))
    says = "at this rate, whatever it gives"
    return method_arm(name_of(how, regime, lr), PRECISION, lambda _: own, says=says, tuned=False)


def name_of(how: str, regime: str, lr: float) -> str:
    """Name of an arm."""
    return f"{how} {regime} {lr:g}"


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """The shares of changed weights, and success on the test problems."""
    given = session.answers(model, session.task.test, 8, name="test")
    return {
        **changed(on_grid(session.task.base).model, model.policy.model),
        "success": numbers_of(given)["success"],
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare RL and SFT at two learning rates in fp32, and with bf16 weights."""
    task = embedded_task(lab, subject.base)
    steps = STEPS * (10 if subject.profile == "long" else 1)
    config = PrecisionConfig(rl=CHAIN_RL, steps=(steps,))
    arms = [base_arm(), *[arm_of(*one, config) for one in ARMS]]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), evaluate, name="precision")
    low, high = {how: name_of(how, "fp32", LOW) for how in ("RL", "SFT")}, name_of("RL", "fp32", HIGH)
    gaps = [
        values(runs, name_of("SFT", "fp32", rate), "visible")
        - values(runs, name_of("RL", "fp32", rate), "visible")
        for rate in (LOW, HIGH)
    ]
    numbers = {
        "effect": over_seeds("visible: SFT - RL, at the rate where it is least", np.min(gaps, axis=0)),
        "at the low rate": contrast(runs, low["SFT"], low["RL"], "visible"),
        "at the high rate": contrast(runs, name_of("SFT", "fp32", HIGH), high, "visible"),
        "in bf16 alone": contrast(runs, name_of("SFT", "bf16", LOW), name_of("RL", "bf16", LOW), "exact"),
        "of the rate alone": contrast(runs, high, low["RL"], "visible"),
        "RL changes in fp32": level(runs, low["RL"], "exact"),
        "SFT changes in fp32": level(runs, low["SFT"], "exact"),
        "RL visible": level(runs, low["RL"], "visible"),
        "RL beyond the tolerance": level(runs, low["RL"], "tolerant"),
        "RL in bf16 alone": level(runs, name_of("RL", "bf16", LOW), "exact"),
        "SFT in bf16 alone": level(runs, name_of("SFT", "bf16", LOW), "exact"),
        "RL with a master copy, in fp32": level(runs, name_of("RL", "master", HIGH), "exact"),
        "RL with a master copy, visible": level(runs, name_of("RL", "master", HIGH), "visible"),
        "RL learns": contrast(runs, high, "base", "success"),
    }
    return outcome_of(
        Session(lab, task),
        runs,
        numbers,
        setting=(
            f"base {subject.base!r} rounded to bf16; {steps} updates of AdamW without decay, rates {LOW:g} "
            f"and {HIGH:g}, for RL ({CHAIN_RL.prompts} x {CHAIN_RL.draws} draws) and for SFT on gold traces"
        ),
    )
