"""A small catalyst teaches a policy to enrich its own rationales, and learning those raises success without
gold."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, embedded_task, sizes_for, usual
from keyturn.studies.plan import Arm, contrast, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.self_improve import SelfImproveConfig, train
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

WAYS: dict[str, SelfImproveConfig] = {
    "SRLM": SelfImproveConfig(),
    "SRLM, by length": SelfImproveConfig(selector="length"),
    "padding catalyst": SelfImproveConfig(kind="padding", selector="length"),
    "catalyst as demonstrations": SelfImproveConfig(kind="demonstrations"),
    "own answers alone": SelfImproveConfig(kind="none"),
}
RIGHT = "right"


def way(name: str, config: SelfImproveConfig, steps: int, problems: int, rounds: int) -> Arm:
    """An arm of self-improvement."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        schedule = replace(TINY, steps=steps, warmup=steps // 10, lr=lr, batch_rows=16)
        settings = replace(config, fit=schedule, problems=problems, rounds=rounds, catalyst=48)
        return train(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=fit)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Two selectors, a placebo catalyst, the catalyst as plain demonstrations, and the base's own answers "
    "alone."""
    task = embedded_task(lab, subject.base)
    long = subject.profile == "long"
    steps, problems, rounds = (600, 0, 3) if long else (40, 96, 1)
    arms = [base_arm(), *(way(name, config, steps, problems, rounds) for name, config in WAYS.items())]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), usual(8), name="self-improvement")
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "SRLM", "base", RIGHT),
            "less padding": contrast(ran, "SRLM, by length", "padding catalyst", RIGHT),
            "less demonstrations": contrast(ran, "SRLM", "catalyst as demonstrations", RIGHT),
            "less own answers": contrast(ran, "SRLM", "own answers alone", RIGHT),
            "padding": contrast(ran, "padding catalyst", "base", RIGHT),
            "consistency - length": contrast(ran, "SRLM", "SRLM, by length", RIGHT),
            "verified": contrast(ran, "SRLM", "base", "success"),
            "longer": contrast(ran, "SRLM", "base", "length"),
            "padding is longer": contrast(ran, "padding catalyst", "base", "length"),
        },
        setting=(
            f"base {subject.base!r}, GRAPH at one operation (tested at one and two); catalyst of 48 solutions "
            f"that check every sum, {problems or len(task.train.problems)} own rationales, {rounds} round(s), "
            f"fits of {steps} steps of 16 rows"
        ),
    )


CLAIM = Claim(
    id="rationales-improve-themselves",
    version=1,
    question="Can a policy improve on tasks where no answer can be verified?",
    statement=(
        "From a small catalyst a policy learns to enrich rationales; rewriting its own and keeping some "
        "without gold answers improves its answers."
    ),
    source="Self-Reasoning Language Models, ACL Findings 2025, arXiv 2505.14116",
    threshold=Threshold(
        estimand="effect",
        says="share of right answers, after one round with the consistency selector minus the base",
        direction=1,
        smallest=0.025,
        why="the paper's average gain is 2.5 points",
    ),
    gates=(Gate(name="longer", says="rationales did get richer: answers grew, in tokens", minimum=0.0),),
    controls=(
        Gate(
            name="padding",
            says="a catalyst that only pads does not raise the share of right answers",
            maximum=0.05,
        ),
    ),
    study=study,
    study_says="five ways and the base on GRAPH; short: some 25 runs of 8 to 16 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds lies below +.025",
    methods=("self-improve",),
    not_shown=(
        "The catalyst is an expert's: unless the gain is more than that of the same solutions as "
        "demonstrations, it is teaching and not self-improvement. The paper's selectors are not known to us; "
        "these are ours."
    ),
)
