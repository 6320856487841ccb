"""A few dozen good demonstrations suffice, but only for a base that already commands the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import Cells, base_arm, embedded_task, pretrained, sizes_for, usual
from keyturn.studies.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.few_demos import FewDemosConfig, train
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

FEW, MANY = 78, 0
CELLS = Cells(train=(2, 3), test=(1, 2, 3, 4, 5))
"""Depth 1 is what a base is competent at; what demonstrations bring is read at the others."""
GAIN, COMPETENCE, FAR = "success beyond 1", "success depth 1", "success depth 5"


def demo_arm(name: str, config: FewDemosConfig, on: Task, steps: int) -> Arm:
    """An arm of some demonstrations on one base."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        settings = replace(config, fit=replace(TINY, steps=steps, warmup=steps // 10, lr=lr))
        return train(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=fit, task=on)


def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
    """The usual numbers, and success at the depths that demonstrations are for."""
    found = usual(8)(lab, task, model)
    beyond = [found[f"success depth {depth}"] for depth in CELLS.test if depth > 1]
    return {GAIN: float(np.mean(beyond)), **found}


def arms_on(where: str, task: Task, steps: int) -> list[Arm]:
    """The base and the grid of count and quality."""
    grid = {
        "8 good": FewDemosConfig(count=8),
        "78 good": FewDemosConfig(count=FEW),
        "all good": FewDemosConfig(count=MANY),
        "78, half wrong": FewDemosConfig(count=FEW, quality=0.5),
        "all, half wrong": FewDemosConfig(count=MANY, quality=0.5),
    }
    if where == "strong":
        grid["78, a tenth wrong"] = FewDemosConfig(count=FEW, quality=0.9)
        grid["all, a tenth wrong"] = FewDemosConfig(count=MANY, quality=0.9)
    fitted = [demo_arm(f"{name}, {where}", config, task, steps) for name, config in grid.items()]
    return [base_arm(f"base, {where}", on=task), *fitted]


def study(lab: Lab, subject: Subject) -> Outcome:
    """Count and quality of demonstrations on a base that knows the maps and on one that half knows them."""
    strong = embedded_task(lab, subject.base, CELLS)
    weak = embedded_task(lab, str(pretrained(lab, "chain", "brief")), CELLS)
    steps = 1000 if subject.profile == "long" else 60
    arms = [*arms_on("strong", strong, steps), *arms_on("weak", weak, steps)]
    ran = run_plan(lab, strong, arms, sizes_for(subject.profile), look, name="few demonstrations")

    def gain(name: str, where: str, number: str):
        return values(ran, f"{name}, {where}", number) - values(ran, f"base, {where}", number)

    def less(arm: str, control: str, where: str = "strong"):
        return contrast(ran, f"{arm}, {where}", f"{control}, {where}", GAIN)

    return planned(
        lab,
        strong,
        ran,
        {
            "effect": less("78 good", "base", "weak"),
            "gain on the strong base": less("78 good", "base"),
            "interaction": over_seeds(
                f"{GAIN}: gain of 78 on the strong base - on the weak one",
                gain("78 good", "strong", GAIN) - gain("78 good", "weak", GAIN),
            ),
            "competence": contrast(ran, "base, strong", "base, weak", COMPETENCE),
            "78 good - 78 a tenth wrong": less("78 good", "78, a tenth wrong"),
            "78 good - all a tenth wrong": less("78 good", "all, a tenth wrong"),
            "78 good - 78 half wrong": less("78 good", "78, half wrong"),
            "78 good - all half wrong": less("78 good", "all, half wrong"),
            "all - 78, strong": less("all good", "78 good"),
            "all - 78, weak": less("all good", "78 good", "weak"),
            "78 - 8, strong": less("78 good", "8 good"),
            "depth 5, interaction": over_seeds(
                f"{FAR}: gain of 78 on the strong base - on the weak one",
                gain("78 good", "strong", FAR) - gain("78 good", "weak", FAR),
            ),
            "weak with all": level(ran, "all good, weak", GAIN),
            "weak base": level(ran, "base, weak", GAIN),
            "strong base": level(ran, "base, strong", GAIN),
        },
        setting=(
            f"base {subject.base!r} and the same recipe of pretraining stopped at two fifths (weak); solutions "
            f"at depths 2 and 3, gains at depths 2 to 5, competence at depth 1; {steps} updates of "
            f"{TINY.batch_rows} rows for every count; in a wrong solution every number of the trace is another"
        ),
    )


CLAIM = Claim(
    id="few-demos-need-competence",
    version=2,
    question="Do a few good demonstrations suffice?",
    statement=(
        "What a few dozen curated demonstrations bring is large only where the base is already competent: a "
        "base that half knows the parts gains little from them."
    ),
    source="Xiao et al. 2025 (LIMI), arXiv 2509.17567",
    threshold=Threshold(
        estimand="effect",
        says="gain in verified answers from 78 demonstrations on the weak base, mean over seeds",
        direction=-1,
        smallest=0.1,
        why="the paper's gains are 25 points on its strongest base and 3 to 4 on 4B to 8B models",
    ),
    gates=(
        Gate(name="gain on the strong base", says="78 demonstrations bring much to the strong", minimum=0.2),
        Gate(name="competence", says="the strong base knows single maps better than the weak", minimum=0.05),
        Gate(name="weak base", says="the weak base does not solve these problems already", maximum=0.5),
        Gate(name="strong base", says="nor does the strong one", maximum=0.5),
    ),
    controls=(
        Gate(
            name="78 good - 78 a tenth wrong",
            says="at equal count right solutions are not worse than where a tenth is wrong",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="count x quality on two CHAIN bases; short: some 55 runs of 3 s, one pretraining of 30 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies above +.1",
    methods=("few-demos", "sft"),
    not_shown=(
        "Competence here is how well single maps are known; in the paper it is that of models of 4B to 355B "
        "parameters, with benchmark and data by one group. Answers are one turn, not an agent's trajectory."
    ),
)
