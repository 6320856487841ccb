"""A few dozen good demonstrations suffice, but only for a base that has already mastered the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import (
    Cells,
    base_arm,
    embedded_task,
    method_arm,
    numbers_on_test,
    pretrained,
    sizes_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.few_demos import METHOD as FEW_DEMOS
from keyturn.methods.few_demos import FewDemosConfig
from keyturn.methods.sft import TINY

FEW, MANY = 78, 0
CELLS = Cells(train=(2, 3), test=(1, 2, 3, 4, 5))
"""A base is competent at depth 1; the effect of demonstrations is read at the other depths."""
GAIN, COMPETENCE, FAR = "success beyond 1", "success depth 1", "success depth 5"


def demo_arm(name: str, config: FewDemosConfig, on: Task, steps: int) -> Arm:
    """An arm that fits one base to some demonstrations."""
    fit = replace(TINY, steps=steps, warmup=steps // 10)
    return method_arm(name, FEW_DEMOS, lambda lr: replace(config, fit=replace(fit, lr=lr)), on=on)


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """The usual numbers, and success at the depths that the demonstrations target."""
    found = numbers_on_test(8)(session, model)
    beyond = [found[f"success depth {depth}"] for depth in CELLS.test if depth > 1]
    return {GAIN: float(np.mean(beyond)), **found}


def arms_on(where: str, task: Task, steps: int) -> list[Arm]:
    """The base, and a grid over the count and quality of demonstrations."""
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
    """Vary count and quality of demonstrations on a base that knows the maps and on one that half knows
    them."""
    strong = embedded_task(lab, subject.base, CELLS)
    weak = embedded_task(lab, str(pretrained(lab, "chain", "brief")), CELLS)
    steps = 1000 if subject.profile == "long" else 60
    arms = [*arms_on("strong", strong, steps), *arms_on("weak", weak, steps)]
    runs = run_plan(Session(lab, strong), arms, sizes_for(subject.profile), evaluate, name="few demonstrations")

    def gain(name: str, where: str, number: str):
        return values(runs, f"{name}, {where}", number) - values(runs, f"base, {where}", number)

    def less(arm: str, control: str, where: str = "strong"):
        return contrast(runs, f"{arm}, {where}", f"{control}, {where}", GAIN)

    return outcome_of(
        Session(lab, strong),
        runs,
        {
            "effect": less("78 good", "base", "weak"),
            "gain on the strong base": less("78 good", "base"),
            "interaction": over_seeds(
                f"{GAIN}: gain of 78 on the strong base - on the weak one",
                gain("78 good", "strong", GAIN) - gain("78 good", "weak", GAIN),
            ),
            "competence": contrast(runs, "base, strong", "base, weak", COMPETENCE),
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
            "weak with all": level(runs, "all good, weak", GAIN),
            "weak base": level(runs, "base, weak", GAIN),
            "strong base": level(runs, "base, strong", GAIN),
        },
        setting=(
            f"base {subject.base!r} and the same recipe of pretraining stopped at two fifths (weak); solutions "
            f"at depths 2 and 3, gains at depths 2 to 5, competence at depth 1; {steps} updates of "
            f"{TINY.batch_rows} rows for every count; in a wrong solution every number of the trace is another"
        ),
    )
