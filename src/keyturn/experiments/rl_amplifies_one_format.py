"""RL converges on one format of pretraining: the more frequent one, or the more accurate one?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keyturn.experiments.arms import base_arm, curve, experiment_arm, numbers_of, sizes_for, steps_for
from keyturn.experiments.competing_formats import RUN, FormatsConfig, task_of, trained
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.pretraining.recipes import Size

RARE_BETTER = FormatsConfig(frequency=0.3, noise=(0.3, 0.0))
RARE_EQUAL = FormatsConfig(frequency=0.3)
SMALL = replace(RARE_BETTER, size=Size(hidden=48, inner=128))
"""The first base with half the channels."""


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """The usual numbers, with a share of 0 for a format that is never written."""
    given = session.answers(model, session.task.test, 16, name="test")
    return {"format F1": 0.0, "format F2": 0.0, **numbers_of(given), **curve(model)}


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare a frequent, less accurate format with a rare, more accurate one at two sizes; and two equally
    accurate ones."""
    run = steps_for(RUN, subject.profile)
    better, equal, small = (replace(one, rl=run) for one in (RARE_BETTER, RARE_EQUAL, SMALL))
    first, second, third = (task_of(lab, one) for one in (better, equal, small))
    arms = [
        base_arm("base, rare is better", on=first),
        experiment_arm("RL, rare is better", trained, better, first),
        experiment_arm("RL with KL, rare is better", trained, replace(better, kl_weight=0.1), first),
        experiment_arm("random reward, rare is better", trained, replace(better, reward="random"), first),
        base_arm("base, equal", on=second),
        experiment_arm("RL, equal", trained, equal, second),
        base_arm("base, small", on=third),
        experiment_arm("RL, small", trained, small, third),
    ]
    runs = run_plan(Session(lab, first), arms, sizes_for(subject.profile), evaluate, name="formats")
    return outcome_of(
        Session(lab, first),
        runs,
        {
            "effect": contrast(runs, "RL, rare is better", "base, rare is better", "format F2"),
            "with a penalty": contrast(runs, "RL with KL, rare is better", "base, rare is better", "format F2"),
            "random reward": contrast(
                runs, "random reward, rare is better", "base, rare is better", "format F2"
            ),
            "equal accuracy": contrast(runs, "RL, equal", "base, equal", "format F2"),
            "half the channels": contrast(runs, "RL, small", "base, small", "format F2"),
            "share before, half the channels": level(runs, "base, small", "format F2"),
            "RL learns": contrast(runs, "RL, rare is better", "base, rare is better", "success"),
            "share before": level(runs, "base, rare is better", "format F2"),
        },
        setting=(
            "GRAPH at one operation, 70 % of the text in F1 and 30 % in F2; in the first base three of ten "
            f"results in F1 are wrong; {run.steps} steps of {run.prompts} x {run.draws} draws"
        ),
    )
