"""Learning tasks one after another, in an order chosen by transfer, gives better final scores than joint
training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import embedded_task, method_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, Evaluate, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.omni import METHOD as OMNI
from keyturn.methods.omni import RUN, OmniConfig, Schedule, entropy, joined, matched, scored, tasks_of

ARMS: dict[str, Schedule] = {
    "by transfer": "transfer",
    "reversed": "reverse",
    "joint": "joint",
    "round-robin": "round-robin",
    "average": "average",
}
"""Arm -> how the tasks are combined."""
SETTINGS = OmniConfig(rl=replace(RUN, steps=12), turns=3)


def arm(name: str, config: OmniConfig) -> Arm:
    """An arm that trains on all tasks with one schedule."""
    own = replace(config, schedule=ARMS[name])
    return method_arm(name, OMNI, lambda lr: replace(own, rl=replace(config.rl, lr=lr)))


def start_arm(config: OmniConfig) -> Arm:
    """The policy that every arm starts from."""
    own = replace(config, schedule="none")
    return method_arm("start", OMNI, lambda _: own, says="no RL", tuned=False)


def evaluator(tasks: Mapping[str, Task], config: OmniConfig) -> Evaluate:
    """Mean score over tasks, score of each task, entropy, and the mean score at the entropy of the start."""

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        found = scored(session.lab, tasks, model, config, test=True)
        heat = entropy(session.lab, tasks, model, config)
        target = float(entropy(session.lab, tasks, model.beside["start"], config).mean())
        _, same = matched(session.lab, tasks, model, config, target)
        own = {f"score {name}": float(value) for name, value in zip(tasks, found, strict=True)}
        own |= {f"entropy {name}": float(nats) for name, nats in zip(tasks, heat, strict=True)}
        return {"score": float(found.mean()), "matched": float(same.mean()), **own}

    return evaluate


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare schedules on three tasks: order by transfer, its reverse, joint, round-robin and weight
    averaging."""
    config = replace(SETTINGS, rl=steps_for(SETTINGS.rl, subject.profile))
    single = embedded_task(lab, subject.base)
    tasks = tasks_of(Session(lab, single), config)
    task = joined(single, tasks)
    arms = [start_arm(config), *(arm(name, config) for name in ARMS)]
    runs = run_plan(
        Session(lab, task), arms, sizes_for(subject.profile), evaluator(tasks, config), name="order of tasks"
    )
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "by transfer", "joint", "score"),
            "against the reverse": contrast(runs, "by transfer", "reversed", "score"),
            "against round-robin": contrast(runs, "by transfer", "round-robin", "score"),
            "against averaging": contrast(runs, "by transfer", "average", "score"),
            "at equal entropy": contrast(runs, "by transfer", "joint", "matched"),
            "RL learns": contrast(runs, "joint", "start", "score"),
            "score before": level(runs, "start", "score"),
            "entropy of CREATE after": contrast(runs, "by transfer", "start", "entropy create"),
            "entropy of CHAIN after": contrast(runs, "by transfer", "start", "entropy chain"),
        },
        setting=(
            f"CHAIN, PAR and CREATE, shown together for {config.fit.steps} steps; then {config.rl.steps} RL "
            f"steps of {config.rl.prompts} x {config.rl.draws} draws for each task, whatever the schedule"
        ),
    )
