"""Tasks learnt one after another in the order that transfer suggests end better than tasks learnt together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import embedded_task, sizes_for, steps_for
from keyturn.studies.plan import Arm, Look, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.omni import (
    RUN,
    OmniConfig,
    Schedule,
    entropy,
    joined,
    matched,
    scored,
    started,
    tasks_of,
    trained,
)
from keyturn.training.stages import Model

ARMS: dict[str, Schedule] = {
    "by transfer": "transfer",
    "reversed": "reverse",
    "joint": "joint",
    "round-robin": "round-robin",
    "average": "average",
}
"""Arm -> how the tasks are put together."""
SETTINGS = OmniConfig(rl=replace(RUN, steps=12), turns=3)


def arm(name: str, tasks: Mapping[str, Task], config: OmniConfig) -> Arm:
    """All tasks by one schedule."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        own = replace(config, schedule=ARMS[name], rl=replace(config.rl, lr=lr))
        return trained(lab, task, tasks, started(lab, task, tasks, own), own, seed=seed).model

    return Arm(name=name, train=train)


def start_arm(tasks: Mapping[str, Task], config: OmniConfig) -> Arm:
    """What every arm begins with."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return started(lab, task, tasks, config)

    return Arm(name="start", train=train, says="no RL", tuned=False)


def look_at(tasks: Mapping[str, Task], config: OmniConfig) -> Look:
    """Mean score over tasks, of each, entropy, and the mean score at the start's entropy."""

    def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
        found = scored(lab, tasks, model, config, test=True)
        heat = entropy(lab, tasks, model, config)
        target = float(entropy(lab, tasks, started(lab, task, tasks, config), config).mean())
        _, same = matched(lab, tasks, model, config, target)
        own = {f"score {name}": float(value) for name, value in zip(tasks, found, strict=True)}
        own |= {f"entropy {name}": float(nats) for name, nats in zip(tasks, heat, strict=True)}
        return {"score": float(found.mean()), "matched": float(same.mean()), **own}

    return look


def study(lab: Lab, subject: Subject) -> Outcome:
    """Three tasks: in the order by transfer, reversed, joint, round-robin, averaged."""
    config = replace(SETTINGS, rl=steps_for(SETTINGS.rl, subject.profile))
    single = embedded_task(lab, subject.base)
    tasks = tasks_of(lab, single, config)
    task = joined(single, tasks)
    arms = [start_arm(tasks, config), *(arm(name, tasks, config) for name in ARMS)]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), look_at(tasks, config), name="order of tasks")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "by transfer", "joint", "score"),
            "against the reverse": contrast(ran, "by transfer", "reversed", "score"),
            "against round-robin": contrast(ran, "by transfer", "round-robin", "score"),
            "against averaging": contrast(ran, "by transfer", "average", "score"),
            "at equal entropy": contrast(ran, "by transfer", "joint", "matched"),
            "RL learns": contrast(ran, "joint", "start", "score"),
            "score before": level(ran, "start", "score"),
            "entropy of CREATE after": contrast(ran, "by transfer", "start", "entropy create"),
            "entropy of CHAIN after": contrast(ran, "by transfer", "start", "entropy chain"),
        },
        setting=(
            f"CHAIN, PAR and CREATE, shown together for {config.fit.steps} steps; then {config.rl.steps} RL "
            f"steps of {config.rl.prompts} x {config.rl.draws} draws for each task, whatever the schedule"
        ),
    )


CLAIM = Claim(
    id="order-by-transfer-beats-joint",
    version=1,
    question="Does the order in which tasks are learnt by RL matter, and does transfer say which is best?",
    statement=(
        "Tasks learnt one after another, the one that is harmed least by the others first, end at a higher "
        "mean score than the same tasks learnt together."
    ),
    source="Omni-Thinker 2025, arXiv 2507.14783 (+6.2 % over joint, +12.4 % over merging)",
    threshold=Threshold(
        estimand="effect",
        says="mean score over three tasks, in the order by transfer minus joint, mean over seeds",
        direction=1,
        smallest=0.02,
        why="two points of mean reward; 6 % of a score of a third",
    ),
    gates=(
        Gate(name="RL learns", says="RL raises the mean score", minimum=0.0),
        Gate(name="score before", says="there is room", minimum=0.05, maximum=0.9),
    ),
    controls=(
        Gate(
            name="against the reverse",
            says="the reversed order is not better by as much: else not the order by transfer is what helps",
            minimum=-0.02,
        ),
    ),
    study=study,
    study_says="six arms on three worlds of one vocabulary; short: one fit, some 60 stages of 3 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.02",
    methods=("omni", "rarity"),
    not_shown=(
        "Three small worlds stand for coding, mathematics, questions and writing; no judge model; the order is "
        "chosen on validation problems by transfer measured once a seed and rate."
    ),
)
