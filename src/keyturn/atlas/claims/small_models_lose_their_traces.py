"""RL on theory of mind raises accuracy at every size; traces of beliefs go in small models, not in large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, sizes_for, steps_for
from keyturn.studies.plan import Arm, Look, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.tom import RUN, TomConfig, task_of, traced, trained
from keyturn.training.stages import Model, answered, base_of

WIDTHS = {"small": 32, "middle": 64, "large": 96}
"""Name -> channels."""
SETTINGS = TomConfig(rl=replace(RUN, steps=20), held_out=6)
DRAWS = 8
GAIN, KEPT = "accuracy gained", "trace F1 gained"


def arm(name: str, config: TomConfig, on: Task) -> Arm:
    """RL on the base of one width."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return trained(lab, task, replace(config, rl=replace(config.rl, lr=lr)), seed=seed)

    return Arm(name=name, train=train, task=on)


def look_for() -> Look:
    """Answers and traces, and what was gained over the base of the same width."""

    def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
        found = traced(answered(lab, task, model, task.test, DRAWS, name="test"))
        before = traced(answered(lab, task, base_of(task), task.test, DRAWS, name="test"))
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
    ran = run_plan(lab, tasks["large"], arms, sizes_for(subject.profile), look_for(), name="beliefs")
    return planned(
        lab,
        tasks["large"],
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


CLAIM = Claim(
    id="small-models-lose-their-traces",
    version=2,
    question="Does RL on answers about beliefs teach tracking them, or answering without?",
    statement=(
        "RL raises accuracy on theory of mind at every size, but in small models the trace of beliefs "
        "collapses while in large ones it is kept."
    ),
    source="Lu et al. 2025 (ToM-RL), arXiv 2504.01698",
    threshold=Threshold(
        estimand="effect",
        says="change of trace F1 by RL, smallest width minus largest, mean over seeds",
        direction=-1,
        smallest=-0.1,
        why="a tenth of the beliefs that a trace states",
    ),
    gates=(
        Gate(name="accuracy gained, small", says="RL raises accuracy at the smallest width", minimum=0.0),
        Gate(name="trace F1 before, small", says="the smallest base has traces to lose", minimum=0.2),
    ),
    controls=(
        Gate(
            name="traces paid, small",
            says="a reward that pays traces keeps them: the smallest width can write them",
            minimum=-0.1,
        ),
    ),
    study=study,
    study_says="seven arms on three bases; short: three pretrainings of 650 steps, some 19 runs of 10 s",
    refuted_if="the interval over seeds lies above -.1",
    methods=("tom", "process"),
    not_shown=(
        "Widths of 32 to 96 channels stand for 0.5e9 to 7e9 parameters; there is no format reward, which in "
        "the paper pays a trace's tags and not its content."
    ),
)
