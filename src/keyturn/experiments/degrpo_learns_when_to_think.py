"""With a separate loss on the control word a policy learns when to think; with one mean over all tokens it
does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import Cells, embedded_task, method_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import (
    Arm,
    Evaluate,
    Score,
    against_best,
    contrast,
    level,
    over_seeds,
    run_plan,
    values,
)
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.thinkless import METHOD as THINKLESS
from keyturn.methods.thinkless import RUN, ThinklessConfig, prepared, reward_of, routing
from keyturn.rewards.contract import Graded, rewards_of

CELLS = Cells(train=(1, 2, 3), test=(2, 3), per_cell=40, held_out=12)
EASY = 24
"""At most this many single-function problems are among the validation and test problems. There are only 56 of
them, a table to learn by heart. Warm-up and RL both train on them, which makes them easy; deeper ones are
new."""
SETTINGS = ThinklessConfig(demonstrations=0, shared_level=1)
ARMS: dict[str, ThinklessConfig] = {
    "GRPO": replace(SETTINGS, arm="vanilla"),
    "DeGRPO": SETTINGS,
    "DeGRPO, alpha 1": replace(SETTINGS, alpha=1.0),
    "control word only": replace(SETTINGS, arm="control"),
}
"""Arm -> its settings."""


def with_easy(task: Task) -> Task:
    """The task with known single-function problems added to the validation and test problems."""
    easy = [problem for problem in task.train.problems if problem.cell["depth"] == 1][:EASY]
    parts = {
        name: subset(part, [*easy, *part.problems], "with easy ones")
        for name, part in (("validation", task.validation), ("test", task.test))
    }
    return replace(task, **parts)


def arm(name: str, config: ThinklessConfig) -> Arm:
    """An arm that runs RL from the warm-up shared by all arms."""
    return method_arm(name, THINKLESS, lambda lr: replace(config, rl=replace(config.rl, lr=lr)))


def paid(modes: tuple[int, int], draws: int) -> Score:
    """Mean reward of unforced draws on validation problems: accuracy alone would select a policy that always
    thinks."""
    reward = reward_of(SETTINGS, modes)

    def score(session: Session, model: Model) -> float:
        found, grades = session.draw(model, session.task.validation, draws, name="validation")
        asked, streams = session.task.validation.problems, session.streams.child("validation")
        graded = Graded(problems=asked, completions=found, grades=grades, streams=streams)
        return float(np.nanmean(rewards_of(reward, graded)))

    return score


def evaluator(modes: tuple[int, int]) -> Evaluate:
    """An evaluation of how a policy chooses its mode."""

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        return routing(session, model, SETTINGS, modes)._asdict()

    return evaluate


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare vanilla GRPO, DeGRPO at two weights, and the control word alone, all from one warm-up."""
    task, modes = prepared(Session(lab, with_easy(embedded_task(lab, subject.base, CELLS))), SETTINGS)
    run = steps_for(RUN, subject.profile, 4)
    warm = replace(SETTINGS, arm="warm-up")
    arms = [method_arm("warm-up", THINKLESS, lambda _: warm, says="no RL", tuned=False)]
    arms += [arm(name, replace(config, rl=run)) for name, config in ARMS.items()]
    sizes = sizes_for(subject.profile)
    score = paid(modes, sizes.draws)
    runs = run_plan(Session(lab, task), arms, sizes, evaluator(modes), name="when to think", score=score)
    rivals = {
        "GRPO": ("GRPO", "regret"),
        "always think": ("DeGRPO", "always_think"),
        "never think": ("DeGRPO", "always_short"),
    }
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": against_best(runs, "DeGRPO", rivals, "regret", smaller_is_better=True),
            **{
                f"{name} - DeGRPO": over_seeds(
                    f"regret: {name} - DeGRPO", values(runs, *rival) - values(runs, "DeGRPO", "regret")
                )
                for name, rival in rivals.items()
            },
            "against the control word only": contrast(runs, "control word only", "DeGRPO", "regret"),
            "against alpha 1": contrast(runs, "DeGRPO, alpha 1", "DeGRPO", "regret"),
            "when, not how": contrast(runs, "warm-up", "control word only", "regret"),
            "AUC of DeGRPO": level(runs, "DeGRPO", "auc"),
            "AUC of GRPO": level(runs, "GRPO", "auc"),
            "AUC of the control word only": level(runs, "control word only", "auc"),
            "share that thinks, DeGRPO": level(runs, "DeGRPO", "think"),
            "share that thinks, GRPO": level(runs, "GRPO", "think"),
            "short mode after the warm-up": level(runs, "warm-up", "short_right"),
            "thinking after the warm-up": level(runs, "warm-up", "think_right"),
            "regret of the warm-up": level(runs, "warm-up", "regret"),
        },
        setting=(
            f"CHAIN at depth 1 (known by heart), 2 and 3; {SETTINGS.fit.steps} steps of warm-up on "
            f"both modes, {run.steps} of {run.prompts} x {run.draws} draws of RL, at depths 2 and 3 on other "
            f"problems; thinking costs {SETTINGS.gamma}, a wrong answer pays -1; rates by mean reward"
        ),
    )
