"""Long traces that emerge under an outcome reward were already within the base's reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keyturn.core.measurement import Estimate
from keyturn.core.statistics.proportions import wilson
from keyturn.experiments.arms import base_arm, experiment_arm, numbers_on_test, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.new_domain import RUN, NewDomainConfig, already_there, task_of, trained
from keyturn.experiments.plan import ArmRun, contrast, level, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.problems.world.par import ParWorld

RARE = 0.1
"""Share of long traces in the second base's text."""
BEYOND = "success bits 10"


def study(lab: Lab, subject: Subject) -> Outcome:
    """Run parity with long traces in three tenths, one tenth and none of the pretraining text."""
    run = steps_for(RUN, subject.profile)
    common = NewDomainConfig(rl=run)
    worlds = {"par": ParWorld(), "par, rare": ParWorld(name="par-rare", long=RARE)}
    tasks = {name: task_of(lab, common, world=world) for name, world in worlds.items()}
    tasks["par-absent"] = task_of(lab, replace(common, world="par-absent"))

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        found = numbers_on_test(16)(session, model)
        there = already_there(session, model, common)
        greedy = session.answers(
            model,
            session.task.test,
            1,
            name="greedy",
            sampling=replace(session.task.base.sampling, temperature=0.0),
        )
        return {
            "strategy FWD": 0.0,
            **found,
            "greedy success": float(np.nanmean(greedy.rates())),
            **{f"traces {key}": value for key, value in there.items()},
        }

    arms = []
    for name, task in tasks.items():
        arms += [base_arm(f"base, {name}", on=task), experiment_arm(f"RL, {name}", trained, common, task)]
    runs = run_plan(Session(lab, tasks["par"]), arms, sizes_for(subject.profile), evaluate, name="emergence")
    numbers = {
        f"{what}, {name}": contrast(runs, f"RL, {name}", f"base, {name}", number)
        for name in ("par", "par, rare")
        for what, number in (("long traces", "strategy FWD"), ("success", "success"), ("beyond", BEYOND))
    }
    return outcome_of(
        Session(lab, tasks["par"]),
        runs,
        {
            **numbers,
            "greedy, par": level(runs, "base, par", "greedy success"),
            "found over seeds": level(runs, "RL, par", "traces found"),
            "found over seeds, rare": level(runs, "RL, par, rare", "traces found"),
            "absent": contrast(runs, "RL, par-absent", "base, par-absent", "strategy FWD"),
            "absent, success": contrast(runs, "RL, par-absent", "base, par-absent", "success"),
        },
        setting=(
            f"PAR, parity by a running trace that three tenths of the text show, a tenth ({RARE:g}) or none; "
            f"RL asks 6 to 8 bits, the test 4 to 12; {run.steps} steps of {run.prompts} x {run.draws} draws, "
            "outcome reward alone"
        ),
        more={"effect": over_traces(runs, "RL, par"), "effect, rare": over_traces(runs, "RL, par, rare")},
    )


def over_traces(runs: Sequence[ArmRun], name: str) -> Estimate:
    """Share of the distinct verified traces that the base produces within the budget, with a Wilson interval.

    The interval counts the traces of the seed with the fewest, since seeds share problems and a problem has
    one valid trace.
    """
    counts, shares = values(runs, name, "traces traces"), values(runs, name, "traces found")
    known = np.isfinite(shares)
    if not known.any():
        return Estimate(math.nan)
    share, count = float(shares[known].mean()), float(counts[known].min())
    low, high = wilson(round(share * count), count)
    return Estimate(share, float(low), float(high))
