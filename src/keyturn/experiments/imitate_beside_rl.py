"""Imitating an expert alongside RL with a decaying or token-wise weight (CHORD) beats SFT followed by RL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import (
    GRAPH_RL,
    base_arm,
    embedded_task,
    method_arm,
    numbers_on_test,
    rl_arm,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, ArmRun, Evaluate, against_best, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.fit_rows import demonstration_completions, demonstrations
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import world_expert
from keyturn.methods.sft import METHOD as SFT
from keyturn.methods.sft import TINY, SftConfig
from keyturn.methods.sft_then_rl import METHOD as SFT_THEN_RL
from keyturn.methods.sft_then_rl import SftThenRlConfig
from keyturn.objectives.chord import ChordConfig, chord
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.policies.protocol import Limits
from keyturn.rewards import REWARDS
from keyturn.training.config import RLConfig
from keyturn.training.rollout import Beside, Sampled

PULL = "gradient, demonstrations / draws"
STYLE = "CHK"
"""The expert checks every sum; no pretraining text of the base does so."""
SHOWN = 48
A_STEP = 8
CURVE = (6, 18, 54, 120)
"""SFT steps at which the policy is evaluated."""
SWITCHES = (6, 18, 120)
"""SFT steps after which RL takes over."""
FIT = replace(TINY, steps=CURVE[-1], batch_rows=16, lr=1e-3, warmup=0, decay_from=1.0)


def sft_arm(steps: int) -> Arm:
    """An arm for one point of the SFT curve; all points use the same learning rate."""
    config = SftConfig(demonstrations=SHOWN, fit=FIT, stop_at=steps)
    return method_arm(f"SFT {steps}", SFT, lambda _: config, says=f"rate {FIT.lr:g}, held", tuned=False)


def switched(steps: int, config: RLConfig) -> Arm:
    """An arm that runs SFT up to the switch, then RL."""
    settings = SftThenRlConfig(
        demonstrations=SHOWN, fit=FIT, switch=(steps / FIT.steps,), aggregation="token-mean"
    )
    name = f"SFT {steps} then RL"
    return method_arm(name, SFT_THEN_RL, lambda lr: replace(settings, rl=replace(config, lr=lr)))


def with_style(draws: int) -> Evaluate:
    """The usual numbers, with the expert's style at share 0 if it never occurs, and the ratio of the gradient
    norm of the demonstrations to that of the draws, as a geometric mean over the measurements."""
    evaluate = numbers_on_test(draws)

    def measured(session: Session, model: Model) -> Mapping[str, float]:
        pulls = [
            math.log(row["grad_norm/sft"] / row["grad_norm/policy"])
            for row in model.history
            if row.get("grad_norm/sft", 0) > 0 and row.get("grad_norm/policy", 0) > 0
        ]
        pull = {PULL: math.exp(sum(pulls) / len(pulls))} if pulls else {}
        return {f"strategy {STYLE}": 0.0, **evaluate(session, model), **pull}

    return measured


def validated(runs: Sequence[ArmRun], arm: str) -> float:
    """An arm's validation score at its learning rate, averaged over seeds."""
    return float(np.mean([one.validation for one in runs if one.arm == arm and one.chosen]))


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare the SFT curve under a shift of style, RL after SFT at three switches, RL alone, and five CHORD
    variants."""
    task = embedded_task(lab, subject.base)
    assert task.world is not None, "the embedded bases have worlds"
    task = replace(task, expert=world_expert(task.world, strategy=STYLE))
    pairs = demonstrations(task, task.train.problems[:SHOWN], lab.streams.child("expert"))
    config = steps_for(replace(GRAPH_RL, steps=20, max_new_tokens=64, term_norms_every=4), subject.profile)
    plain = Sampled(config.draws, Limits(max_new_tokens=config.max_new_tokens, batch_rows=config.batch_rows))
    rollout = Beside(plain, demonstration_completions(task.base, pairs), A_STEP)
    ways = {
        "CHORD, phi": ChordConfig(),
        "CHORD, phi matched": ChordConfig(phi="matched"),
        "CHORD, mu fixed": ChordConfig(phi="one"),
        "CHORD, mu decays": ChordConfig(phi="one", schedule="cosine", decay=config.steps),
        "CHORD, mu adapts": ChordConfig(phi="one", schedule="adaptive"),
    }
    reward = REWARDS["outcome"]()
    arms = [
        base_arm(),
        *(sft_arm(steps) for steps in CURVE),
        *(switched(steps, config) for steps in SWITCHES),
        rl_arm("RL", objective=grpo(GrpoConfig(aggregation="token-mean")), reward=reward, config=config),
        *(
            rl_arm(name, objective=chord(one), reward=reward, config=config, rollout=rollout)
            for name, one in ways.items()
        ),
    ]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), with_style(8), name="CHORD")
    after = {steps: f"SFT {steps} then RL" for steps in SWITCHES}
    best = max(after.values(), key=lambda name: validated(runs, name))
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": against_best(runs, "CHORD, phi", ("RL", best), "success"),
            "phi - best switch": contrast(runs, "CHORD, phi", best, "success"),
            "phi - matched": contrast(runs, "CHORD, phi", "CHORD, phi matched", "success"),
            "phi - RL": contrast(runs, "CHORD, phi", "RL", "success"),
            "phi - mu fixed": contrast(runs, "CHORD, phi", "CHORD, mu fixed", "success"),
            "mu decays - best switch": contrast(runs, "CHORD, mu decays", best, "success"),
            "mu adapts - RL": contrast(runs, "CHORD, mu adapts", "RL", "success"),
            "mu decays - mu fixed": contrast(runs, "CHORD, mu decays", "CHORD, mu fixed", "success"),
            **{
                f"switch at {steps} - RL": contrast(runs, name, "RL", "success")
                for steps, name in after.items()
            },
            "shift": contrast(runs, f"SFT {CURVE[1]}", "base", "success"),
            "re-adapt": contrast(runs, f"SFT {CURVE[-1]}", f"SFT {CURVE[1]}", "success"),
            "overfit": contrast(runs, f"SFT {CURVE[-1]}", f"SFT {CURVE[2]}", "success"),
            "overfit, pass@8": contrast(runs, f"SFT {CURVE[-1]}", f"SFT {CURVE[2]}", "pass@8"),
            "RL learns": contrast(runs, "RL", "base", "success"),
            **{f"pull of the demonstrations, {name}": level(runs, name, PULL) for name in ways},
            "style under phi": contrast(runs, "CHORD, phi", "base", f"strategy {STYLE}"),
        },
        setting=(
            f"base {subject.base!r}, GRAPH at one operation (tested at one and two); {SHOWN} demonstrations "
            f"that check every sum, a manner absent from pretraining; SFT at rate {FIT.lr:g}; {config.steps} "
            f"RL steps of {config.prompts} x {config.draws} draws, {A_STEP} demonstrations beside each"
        ),
    )
