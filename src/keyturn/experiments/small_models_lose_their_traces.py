"""RL on theory of mind raises accuracy at every size; traces of beliefs go in small models, not in large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import base_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, Look, contrast, level, run_plan
from keyturn.experiments.planned import planned
from keyturn.experiments.theory_of_mind import RUN, TomConfig, task_of, traced, trained
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task

WIDTHS = {"small": 32, "middle": 64, "large": 96}
"""Name -> channels."""
SETTINGS = TomConfig(rl=replace(RUN, steps=20), held_out=6)
DRAWS = 8
GAIN, KEPT = "accuracy gained", "trace F1 gained"


def arm(name: str, config: TomConfig, on: Task) -> Arm:
    """RL on the base of one width."""

    def train(session: Session, lr: float) -> Model:
        return trained(
            session,
            replace(config, rl=replace(config.rl, lr=lr)),
        )

    return Arm(name=name, train=train, task=on)


def look_for() -> Look:
    """Answers and traces, and what was gained over the base of the same width."""

    def look(session: Session, model: Model) -> Mapping[str, float]:
        found = traced(session.answers(model, session.task.test, DRAWS, name="test"))
        before = traced(session.answers(session.base, session.task.test, DRAWS, name="test"))
        gained = {
            GAIN: found["accuracy"] - before["accuracy"],
            KEPT: found["trace F1"] - before["trace F1"],
        }
        return {**found, **gained}

    return look


def study(lab: Lab, subject: Subject) -> Outcome:
    """Three widths under the outcome reward; the smallest under a reward for traces too."""
    run = steps_for(SETTINGS.rl, subject.profile)
    config = replace(SETTINGS, rl=run)
    tasks = {name: task_of(lab, config, width) for name, width in WIDTHS.items()}
    arms = [base_arm(f"base, {name}", on=task) for name, task in tasks.items()]
    arms += [arm(f"RL, {name}", config, task) for name, task in tasks.items()]
    arms.append(arm("process reward, small", replace(config, reward="process"), tasks["small"]))
    ran = run_plan(Session(lab, tasks["large"]), arms, sizes_for(subject.profile), look_for(), name="beliefs")
    return planned(
        Session(lab, tasks["large"]),
        ran,
        {
            "effect": contrast(ran, "RL, small", "RL, large", KEPT),
            "accuracy gained, small": level(ran, "RL, small", GAIN),
            "accuracy gained, large": level(ran, "RL, large", GAIN),
            "trace F1 gained, small": level(ran, "RL, small", KEPT),
            "trace F1 gained, middle": level(ran, "RL, middle", KEPT),
            "trace F1 gained, large": level(ran, "RL, large", KEPT),
            "traces paid, small": level(ran, "process reward, small", KEPT),
            "trace F1 before, small": level(ran, "base, small", "trace F1"),
            "answers at once, small": contrast(ran, "RL, small", "base, small", "direct"),
        },
        setting=(
            f"BELIEF, bases of {', '.join(map(str, WIDTHS.values()))} channels pretrained for {config.steps} "
            f"steps, 85 % of the text with traces; {run.steps} RL steps of {run.prompts} x {run.draws} draws; "
            "rates chosen by answers alone"
        ),
    )
