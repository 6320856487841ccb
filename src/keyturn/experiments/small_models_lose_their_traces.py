"""RL on theory of mind raises accuracy at every size; small models lose their belief traces, large ones keep
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import base_arm, experiment_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Evaluate, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.experiments.theory_of_mind import RUN, TomConfig, task_of, traced, trained
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session

WIDTHS = {"small": 32, "middle": 64, "large": 96}
"""Name -> channels."""
SETTINGS = TomConfig(rl=replace(RUN, steps=20), held_out=6)
DRAWS = 8
GAIN, KEPT = "accuracy gained", "trace F1 gained"


def evaluator() -> Evaluate:
    """An evaluation of answers and traces, and of the gains over the base of the same width."""

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        found = traced(session.answers(model, session.task.test, DRAWS, name="test"))
        before = traced(session.answers(session.base, session.task.test, DRAWS, name="test"))
        gained = {
            GAIN: found["accuracy"] - before["accuracy"],
            KEPT: found["trace F1"] - before["trace F1"],
        }
        return {**found, **gained}

    return evaluate


def study(lab: Lab, subject: Subject) -> Outcome:
    """Train three widths with the outcome reward, and the smallest with a reward for traces too."""
    run = steps_for(SETTINGS.rl, subject.profile)
    config = replace(SETTINGS, rl=run)
    tasks = {name: task_of(lab, config, width) for name, width in WIDTHS.items()}
    arms = [base_arm(f"base, {name}", on=task) for name, task in tasks.items()]
    arms += [experiment_arm(f"RL, {name}", trained, config, task) for name, task in tasks.items()]
    arms.append(
        experiment_arm("process reward, small", trained, replace(config, reward="process"), tasks["small"])
    )
    runs = run_plan(Session(lab, tasks["large"]), arms, sizes_for(subject.profile), evaluator(), name="beliefs")
    return outcome_of(
        Session(lab, tasks["large"]),
        runs,
        {
            "effect": contrast(runs, "RL, small", "RL, large", KEPT),
            "accuracy gained, small": level(runs, "RL, small", GAIN),
            "accuracy gained, large": level(runs, "RL, large", GAIN),
            "trace F1 gained, small": level(runs, "RL, small", KEPT),
            "trace F1 gained, middle": level(runs, "RL, middle", KEPT),
            "trace F1 gained, large": level(runs, "RL, large", KEPT),
            "traces paid, small": level(runs, "process reward, small", KEPT),
            "trace F1 before, small": level(runs, "base, small", "trace F1"),
            "answers at once, small": contrast(runs, "RL, small", "base, small", "direct"),
        },
        setting=(
            f"BELIEF, bases of {', '.join(map(str, WIDTHS.values()))} channels pretrained for {config.steps} "
            f"steps, 85 % of the text with traces; {run.steps} RL steps of {run.prompts} x {run.draws} draws; "
            "rates chosen by answers alone"
        ),
    )
