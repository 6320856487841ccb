"""RL with a penalty towards a periodically reset reference keeps extending what is solved, even after its
plateau."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import (
    CHAIN_RL,
    base_arm,
    embedded_task,
    method_arm,
    numbers_of,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, over_seeds, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.prorl import ARMS, ProrlConfig, ResetArm
from keyturn.methods.prorl import METHOD as PRORL
from keyturn.methods.prorl.sustained import classify, pass_curves

K = 16
SECOND, FIRST = f"pass@{K}, second half", f"pass@{K}, first half"
PAPER = "reference+optimiser"
AFTER, TIMES = "second half after the plateau", "times its plateau"
REPLICATES = 8
"""Replicates of the comparison of the base with itself."""


def held(name: ResetArm, config: ProrlConfig) -> Arm:
    """An arm trained by ProRL."""

    settings = replace(config, arm=name)
    return method_arm(name, PRORL, lambda lr: replace(settings, rl=replace(config.rl, lr=lr)))


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """The usual numbers, the classes of the cells, and the change of pass@k over each half of the run."""
    models = (session.base, model.beside.get("middle", model), model)
    base, middle, final = (session.answers(one, session.task.test, K, name="test") for one in models)
    cells = classify(base, middle, final, session.streams.child("classes"), k=K)
    labels = [one.label for one in cells]
    rows = model.history
    steps = float(len(rows))
    plateau = next((row["plateau"] for row in rows if "plateau" in row), float("nan"))
    return {
        **numbers_of(final),
        FIRST: float(np.mean([one.first.value for one in cells])),
        SECOND: float(np.mean([one.second.value for one in cells])),
        **{f"cells {name}": float(labels.count(name)) for name in ("sustained", "plateau", "diminish")},
        "steps": steps,
        "plateau at": plateau,
        TIMES: steps / plateau,
        AFTER: float(steps >= 2 * plateau),
        "resets": float(sum(row.get("reset", 0.0) for row in rows)),
    }


def by_itself(session: Session) -> np.ndarray:
    """pass@K of the base minus pass@K of the base on other draws, ``[replicate]``: the effect of sampling
    alone."""
    found = []
    for number in range(2 * REPLICATES):
        given = session.answers(session.base, session.task.test, K, name="base again", first=K * number)
        found.append(float(np.nanmean(pass_curves(given, K)[1])))
    return np.subtract(found[1::2], found[::2])


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare five ways to constrain a long run, each up to ten times its plateau or to the end of its
    steps."""
    task = embedded_task(lab, subject.base)
    config = ProrlConfig(
        rl=replace(steps_for(replace(CHAIN_RL, steps=120), subject.profile), rounds=2),
        validate_every=3,
        validation_draws=2,
        patience=2,
        keep_every=15 if subject.profile == "short" else 50,
        times=10.0,
    )
    arms = [base_arm(), *(held(name, config) for name in ARMS)]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), evaluate, name="long runs")
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, PAPER, "fixed", SECOND),
            "second half: reset - none": contrast(runs, PAPER, "none", SECOND),
            "second half: reset - optimiser alone": contrast(runs, PAPER, "optimiser", SECOND),
            "first half": level(runs, PAPER, FIRST),
            "second half": level(runs, PAPER, SECOND),
            "reset - fixed": contrast(runs, PAPER, "fixed", "success"),
            "reset - none": contrast(runs, PAPER, "none", "success"),
            "reference alone - fixed": contrast(runs, "reference", "fixed", "success"),
            "optimiser alone - fixed": contrast(runs, "optimiser", "fixed", "success"),
            "reset - optimiser alone": contrast(runs, PAPER, "optimiser", "success"),
            "second half, none": level(runs, "none", SECOND),
            "second half, fixed": level(runs, "fixed", SECOND),
            f"pass@{K}: reset - none": contrast(runs, PAPER, "none", f"pass@{K}"),
            AFTER: level(runs, PAPER, AFTER),
            f"{AFTER}, fixed": level(runs, "fixed", AFTER),
            TIMES: level(runs, PAPER, TIMES),
            "nothing moves by itself": over_seeds(
                f"pass@{K}: base, other draws - base", by_itself(Session(lab, task))
            ),
        },
        setting=(
            f"base {subject.base}; learnt from depths 2 and 3, judged at 2 to 5; to ten times the plateau of "
            f"validation, {config.rl.steps} steps of {config.rl.prompts} x {config.rl.draws} draws at most; "
            f"the base against itself {REPLICATES} times; clip .2 and .4, dynamic sampling, penalty "
            f"{config.kl_weight:g}"
        ),
        exact=(AFTER, f"{AFTER}, fixed"),  # whether these runs went on long enough is no estimate
    )
