"""A few dozen good demonstrations suffice, but only for a base that already commands the parts."""

from __future__ import annotations

from dataclasses import replace

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import CHAIN_CELLS, base_arm, embedded_task, pretrained, sizes_for, usual
from keyturn.studies.plan import Arm, contrast, level, over_seeds, run_plan, values
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.few_demos import FewDemosConfig, train
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model

FEW, MANY = 78, 0
FAR = "success depth 5"


def demo_arm(name: str, config: FewDemosConfig, on: Task, steps: int) -> Arm:
    """An arm of some demonstrations on one base."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        settings = replace(config, fit=replace(TINY, steps=steps, warmup=steps // 10, lr=lr))
        return train(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=fit, task=on)


def arms_on(where: str, task: Task, steps: int) -> list[Arm]:
    """The base and the grid of count and quality."""
    grid = {
        "8 good": FewDemosConfig(count=8),
        "78 good": FewDemosConfig(count=FEW),
        "all good": FewDemosConfig(count=MANY),
        "78, half wrong": FewDemosConfig(count=FEW, quality=0.5),
        "all, half wrong": FewDemosConfig(count=MANY, quality=0.5),
    }
    fitted = [demo_arm(f"{name}, {where}", config, task, steps) for name, config in grid.items()]
    return [base_arm(f"base, {where}", on=task), *fitted]


def study(lab: Lab, subject: Subject) -> Outcome:
    """Count and quality of demonstrations on a base that knows the maps and on one that half knows them."""
    strong = embedded_task(lab, subject.base)
    weak = embedded_task(lab, str(pretrained(lab, "chain", "brief")), CHAIN_CELLS)
    steps = 1000 if subject.profile == "long" else 60
    arms = [*arms_on("strong", strong, steps), *arms_on("weak", weak, steps)]
    ran = run_plan(lab, strong, arms, sizes_for(subject.profile), usual(8), name="few demonstrations")

    def gain(name: str, where: str, number: str = "success"):
        return values(ran, f"{name}, {where}", number) - values(ran, f"base, {where}", number)

    return planned(
        lab,
        strong,
        ran,
        {
            "effect": over_seeds(
                "success: gain of 78 on the strong base - on the weak one",
                gain("78 good", "strong") - gain("78 good", "weak"),
            ),
            "gain on the strong base": contrast(ran, "78 good, strong", "base, strong", "success"),
            "gain on the weak base": contrast(ran, "78 good, weak", "base, weak", "success"),
            "78 good - all half wrong": contrast(ran, "78 good, strong", "all, half wrong, strong", "success"),
            "78 good - 78 half wrong": contrast(ran, "78 good, strong", "78, half wrong, strong", "success"),
            "all - 78, strong": contrast(ran, "all good, strong", "78 good, strong", "success"),
            "all - 78, weak": contrast(ran, "all good, weak", "78 good, weak", "success"),
            "78 - 8, strong": contrast(ran, "78 good, strong", "8 good, strong", "success"),
            "depth 5, interaction": over_seeds(
                f"{FAR}: gain of 78 on the strong base - on the weak one",
                gain("78 good", "strong", FAR) - gain("78 good", "weak", FAR),
            ),
            "weak with all": level(ran, "all good, weak", "success"),
            "weak base": level(ran, "base, weak", "success"),
        },
        setting=(
            f"base {subject.base!r} and the same recipe of pretraining stopped at two fifths (weak); solutions "
            f"at depths 2 and 3, tested at depths 2 to 5; {steps} updates of {TINY.batch_rows} rows for every "
            "count"
        ),
    )


CLAIM = Claim(
    id="few-demos-need-competence",
    version=1,
    question="Do a few good demonstrations suffice?",
    statement=(
        "A few dozen curated demonstrations bring more than many of mixed quality, and the gain is large only "
        "where the base is already competent."
    ),
    source="Xiao et al. 2025 (LIMI), arXiv 2509.17567",
    threshold=Threshold(
        estimand="effect",
        says="gain in verified answers from 78 demonstrations, strong base minus weak base, mean over seeds",
        direction=1,
        smallest=0.1,
        why="the paper's gains are 25 points on its strongest base and 3 to 4 on 4B to 8B models",
    ),
    gates=(
        Gate(name="gain on the strong base", says="78 demonstrations do something at all", minimum=0.0),
        Gate(name="weak base", says="neither base solves these problems already", maximum=0.5),
    ),
    controls=(
        Gate(
            name="78 good - 78 half wrong",
            says="at equal count right traces are not worse than half wrong ones",
            minimum=-0.05,
        ),
    ),
    study=study,
    study_says="count x quality on two CHAIN bases; short: some 45 runs of 3 s, one pretraining of 30 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.1",
    methods=("few-demos", "sft"),
    not_shown=(
        "Competence here is how well single maps are known; in the paper it is that of models of 4B to 355B "
        "parameters, with benchmark and data by one group. Answers are one turn, not an agent's trajectory."
    ),
)
