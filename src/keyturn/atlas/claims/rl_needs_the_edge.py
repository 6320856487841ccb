"""RL extends a skill only from problems at the edge of the base's competence."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, embedded_task, sizes_for, steps_for, usual
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.edge import RUN, EdgeConfig, task_of, trained
from keyturn.training.stages import Model

BEYOND = "success operations 3"


def arm(name: str, config: EdgeConfig, on: Task | None = None) -> Arm:
    """Mid-training and RL as the config says."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        own = replace(config, rl=replace(config.rl, lr=lr), fit=replace(config.fit, lr=lr))
        return trained(lab, task, own, seed=seed)

    return Arm(name=name, train=train, task=on)


def study(lab: Lab, subject: Subject) -> Outcome:
    """RL by zone, with a third of the compute for mid-training, and with no exposure of the second context."""
    run = steps_for(RUN, subject.profile)
    usual_base = EdgeConfig(rl=run, steps=0)
    unseen_base = EdgeConfig(rl=run, exposure=0.0)
    shipped = embedded_task(lab, subject.base)
    task = task_of(lab, usual_base, shipped)
    unseen = task_of(lab, unseen_base, shipped)
    arms = [
        base_arm(),
        *(arm(zone, replace(usual_base, zone=zone)) for zone in ("in", "edge", "hard")),
        arm("edge after mid-training", replace(usual_base, mid=0.33)),
        base_arm("base, context unseen", on=unseen),
        arm("edge, context unseen", unseen_base, unseen),
    ]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), usual(16), name="edge")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "edge", "in", BEYOND),
            "edge against hard": contrast(ran, "edge", "hard", BEYOND),
            "edge against the base": contrast(ran, "edge", "base", BEYOND),
            "mid-training": contrast(ran, "edge after mid-training", "edge", BEYOND),
            "context of 5 %": contrast(ran, "edge", "base", "success context C2"),
            "context unseen": contrast(
                ran, "edge, context unseen", "base, context unseen", "success context C2"
            ),
            "RL learns": contrast(ran, "in", "base", "success operations 1"),
            "base at the edge": level(ran, "base", "success operations 2"),
        },
        setting=(
            "the shipped GRAPH base (one to three operations, context C2 in 5 % of its text); RL asks one "
            f"(in), two (edge) or three (hard) operations in C1; judged at three; {run.steps} steps of "
            f"{run.prompts} x {run.draws} draws; the context is unseen in a base of 1,200 steps on one and "
            "two operations"
        ),
    )


CLAIM = Claim(
    id="rl-needs-the-edge",
    version=1,
    question="Where must RL's problems lie for it to extend what the base can do?",
    statement="RL on problems at the edge of competence extends to harder ones; on mastered ones it does not.",
    source="Zhang, Neubig and Yue 2025, arXiv 2512.07783",
    threshold=Threshold(
        estimand="effect",
        says="success at three operations after RL, edge minus in-distribution",
        direction=1,
        smallest=0.03,
        why="the audit's margin of no change",
    ),
    gates=(Gate(name="RL learns", says="RL where it is easy raises success there", minimum=0.0),),
    controls=(
        Gate(
            name="context unseen",
            says="a context that pretraining never showed does not appear by RL in another",
            maximum=0.1,
        ),
    ),
    study=study,
    study_says="seven arms on two bases; short: one pretraining, some 25 runs of 10 to 20 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.03",
    methods=("edge",),
    not_shown=(
        "One exposure (5 %) and one share of mid-training; the paper's bases have 100M parameters and saturate "
        "the easy zone, which these do not."
    ),
)
