"""RL on one well-chosen example works about as well as RL on the pool, and keeps improving after it is
mastered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import (
    GRAPH_RL,
    base_arm,
    embedded_task,
    method_arm,
    numbers_on_test,
    sizes_for,
    steps_for,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, Evaluate, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.one_shot import METHOD as ONE_SHOT
from keyturn.methods.one_shot import OneShotConfig, after_saturation, history
from keyturn.methods.one_shot.selection import Selection

SELECTIONS: tuple[Selection, ...] = ("top", "median", "bottom", "random", "full", "format")
UNSOLVABLE: Selection = "unsolvable"
"""An additional arm, run if the warm-up leaves some problem of the pool without any right answer."""
DRAWS = 16
LATER = "gain after saturation"


def selected(how: Selection, config: OneShotConfig) -> Arm:
    """An arm that trains on the problems that a selection takes from the pool."""
    return method_arm(how, ONE_SHOT, lambda lr: replace(config, select=how, rl=replace(config.rl, lr=lr)))


def evaluator(config: OneShotConfig) -> Evaluate:
    """The usual numbers, and the gain after saturation if the run saturated."""
    plain = numbers_on_test(DRAWS)

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        numbers = dict(plain(session, model))
        after = after_saturation(session, model, config)
        if after.saturated is not None:
            lines = {str(line["name"]): line["value"] for line in after.rows}
            numbers["saturated at"] = float(after.saturated)
            if isinstance(found := lines.get(LATER), int | float):
                numbers[LATER] = float(found)
        return numbers

    return evaluate


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare one example of each available kind, the whole pool, and the pool with a reward for form alone."""
    task = embedded_task(lab, subject.base)
    config = OneShotConfig(
        pool=64,
        warmup=replace(GRAPH_RL, steps=16),
        rl=steps_for(replace(GRAPH_RL, steps=40), subject.profile),
        times=5.0,
        keep_every=10 if subject.profile == "short" else 20,
        product="end",
        draws=DRAWS,
    )
    past = history(Session(lab, task), config)
    never = int((np.max(past, axis=1, where=np.isfinite(past), initial=-1.0) == 0).sum())
    selections = (*SELECTIONS, UNSOLVABLE) if never else SELECTIONS
    arms = [base_arm(), *(selected(how, config) for how in selections)]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), evaluator(config), name="one example")
    unsolvable = {
        f"{a} - {b}": contrast(runs, a, b, "success")
        for a, b in (("top", UNSOLVABLE), (UNSOLVABLE, "base"))
        if UNSOLVABLE in selections
    }
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": contrast(runs, "top", "full", "success"),
            "pool - base": contrast(runs, "full", "base", "success"),
            "beyond form": contrast(runs, "top", "format", "success"),
            "top - base": contrast(runs, "top", "base", "success"),
            "top - bottom": contrast(runs, "top", "bottom", "success"),
            "top - random": contrast(runs, "top", "random", "success"),
            "top - median": contrast(runs, "top", "median", "success"),
            "median - base": contrast(runs, "median", "base", "success"),
            **unsolvable,
            "form - base": contrast(runs, "format", "base", "success"),
            LATER: level(runs, "top", LATER),
        },
        setting=(
            f"base {subject.base}; a pool of {config.pool} problems at one operation, ranked by 16 warm-up "
            f"steps, in which {never} of them had no right answer; at most {config.rl.steps} steps of "
            f"{config.rl.prompts} x {config.rl.draws} draws, ended at five times saturation; entropy .001 and "
            "KL .001 as in the paper"
        ),
    )
