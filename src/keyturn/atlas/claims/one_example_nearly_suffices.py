"""One well chosen example serves RL about as well as the pool, and goes on teaching after it is mastered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import GRAPH_RL, base_arm, embedded_task, sizes_for, steps_for, usual
from keyturn.studies.plan import Arm, Look, contrast, level, run_plan
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.one_shot import OneShotConfig, ended, history, post_saturation, train
from keyturn.training.selection import Selection
from keyturn.training.stages import Model

SELECTIONS: tuple[Selection, ...] = ("top", "median", "bottom", "random", "full", "format")
UNSOLVABLE: Selection = "unsolvable"
"""A further arm where the warm-up leaves a problem of the pool without one right answer."""
LATER = "gain after saturation"


def selected(how: Selection, config: OneShotConfig) -> Arm:
    """An arm that trains on what a selection takes from the pool."""

    def fit(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return train(lab, task, replace(config, select=how, rl=replace(config.rl, lr=lr)), seed=seed).model

    return Arm(name=how, train=fit)


def looking(config: OneShotConfig) -> Look:
    """The usual numbers, and what came after saturation where there was one."""
    plain = usual(16)

    def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
        numbers = dict(plain(lab, task, model))
        made = ended(task, model, config)
        if made.saturated is not None:
            lines = {str(line["name"]): line["value"] for line in post_saturation(lab, task, made, 16)[2]}
            numbers["saturated at"] = float(made.saturated)
            if isinstance(found := lines.get(LATER), int | float):
                numbers[LATER] = float(found)
        return numbers

    return look


def study(lab: Lab, subject: Subject) -> Outcome:
    """One example of each kind that there is, the whole pool, and the pool paid for form alone."""
    task = embedded_task(lab, subject.base)
    config = OneShotConfig(
        pool=64,
        warmup=replace(GRAPH_RL, steps=16),
        rl=steps_for(replace(GRAPH_RL, steps=40), subject.profile),
        times=5.0,
        keep_every=10 if subject.profile == "short" else 20,
    )
    past = history(lab, task, config)
    never = int((np.max(past, axis=1, where=np.isfinite(past), initial=-1.0) == 0).sum())
    selections = (*SELECTIONS, UNSOLVABLE) if never else SELECTIONS
    arms = [base_arm(), *(selected(how, config) for how in selections)]
    ran = run_plan(lab, task, arms, sizes_for(subject.profile), looking(config), name="one example")
    unsolvable = {
        f"{a} - {b}": contrast(ran, a, b, "success")
        for a, b in (("top", UNSOLVABLE), (UNSOLVABLE, "base"))
        if UNSOLVABLE in selections
    }
    return planned(
        lab,
        task,
        ran,
        {
            "effect": contrast(ran, "top", "full", "success"),
            "pool - base": contrast(ran, "full", "base", "success"),
            "beyond form": contrast(ran, "top", "format", "success"),
            "top - base": contrast(ran, "top", "base", "success"),
            "top - bottom": contrast(ran, "top", "bottom", "success"),
            "top - random": contrast(ran, "top", "random", "success"),
            "top - median": contrast(ran, "top", "median", "success"),
            "median - base": contrast(ran, "median", "base", "success"),
            **unsolvable,
            "form - base": contrast(ran, "format", "base", "success"),
            LATER: level(ran, "top", LATER),
        },
        setting=(
            f"base {subject.base}; a pool of {config.pool} problems at one operation, ranked by 16 warm-up "
            f"steps, in which {never} of them had no right answer; at most {config.rl.steps} steps of "
            f"{config.rl.prompts} x {config.rl.draws} draws, ended at five times saturation; entropy .001 and "
            "KL .001 as in the paper"
        ),
    )


CLAIM = Claim(
    id="one-example-nearly-suffices",
    version=2,
    question="How little data does RL need to bring out what a base can do?",
    statement=(
        "RL on one example, the one whose accuracy varied most in a warm-up, raises success on other problems "
        "about as much as RL on the whole pool it was chosen from."
    ),
    source="Wang et al. 2025, arXiv 2504.20571",
    threshold=Threshold(
        estimand="effect",
        says="success on test problems, one example minus the whole pool, mean over seeds",
        direction=1,
        smallest=-0.05,
        why="the paper's example is within a point of its pool of 1,209; 3 seeds may show a twentieth",
    ),
    gates=(Gate(name="pool - base", says="RL on the pool raises success at all", minimum=0.0),),
    controls=(
        Gate(
            name="beyond form",
            says="one example is worth more than pay for form alone, most of the paper's headline gain",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="seven selections and the base; short: some 28 runs of 8 to 16 s",
    default=Subject(base="graph"),
    refuted_if="the interval over seeds of one example minus the pool lies below -.05",
    methods=("one-shot",),
    not_shown=(
        "Problems of one operation share one strategy, so one example may stand for all by construction; "
        "whether it does where problems need different skills is not asked. The ranking is of one warm-up."
    ),
)
