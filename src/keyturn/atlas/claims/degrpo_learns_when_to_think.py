"""A control word with a loss of its own learns when to think; one mean over all tokens does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Graded, rewards_of
from keyturn.studies.arms import Cells, embedded_task, sizes_for, steps_for
from keyturn.studies.plan import Arm, Look, Score, contrast, level, over_seeds, run_plan, values
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.thinkless import (
    RUN,
    ThinklessConfig,
    halves,
    prepared,
    reward_of,
    routing,
    trained,
    warmed,
)
from keyturn.training.stages import Model, drawn, subset

CELLS = Cells(train=(1, 2, 3), test=(2, 3), per_cell=40, held_out=12)
EASY = 24
"""Applications of one function among the problems of validation and test, at most. There are 56 in all, a table
to be known by heart: warm-up and RL both ask these, which is what makes them easy; the deeper ones are new."""
SETTINGS = ThinklessConfig(demonstrations=0)
ARMS: dict[str, ThinklessConfig] = {
    "GRPO": replace(SETTINGS, arm="vanilla"),
    "DeGRPO": SETTINGS,
    "DeGRPO, alpha 1": replace(SETTINGS, alpha=1.0),
    "control word only": replace(SETTINGS, arm="control"),
}
"""Arm -> its settings."""


def with_easy(task: Task) -> Task:
    """The task with known applications of one function among the problems of validation and test."""
    easy = [problem for problem in task.train.problems if problem.cell["depth"] == 1][:EASY]
    parts = {
        name: subset(part, [*easy, *part.problems], "with easy ones")
        for name, part in (("validation", task.validation), ("test", task.test))
    }
    return replace(task, **parts)


def shown_and_asked(lab: Lab, task: Task) -> tuple[ProblemSet, ProblemSet]:
    """Problems of the warm-up and of RL: the table in both, of the deeper ones a half each."""
    table = [problem for problem in task.train.problems if problem.cell["depth"] == 1]
    deeper = [problem for problem in task.train.problems if problem.cell["depth"] != 1]
    shown, asked = halves(lab, replace(task, train=subset(task.train, deeper, "deeper")), SETTINGS)
    return (
        subset(task.train, [*table, *shown.problems], "warm-up"),
        subset(task.train, [*table, *asked.problems], "RL"),
    )


def arm(name: str, config: ThinklessConfig, modes: tuple[int, int]) -> Arm:
    """RL on the one warm-up that all arms share."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        own = replace(config, rl=replace(config.rl, lr=lr))
        shown, asked = shown_and_asked(lab, task)
        return trained(lab, task, warmed(lab, task, own, shown), own, modes, asked, seed=seed)

    return Arm(name=name, train=train)


def warm_arm(modes: tuple[int, int]) -> Arm:
    """The warm-up alone: what every arm begins with."""

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return warmed(lab, task, SETTINGS, shown_and_asked(lab, task)[0])

    return Arm(name="warm-up", train=train, says="no RL", tuned=False)


def paid(modes: tuple[int, int], draws: int) -> Score:
    """Mean reward of free draws on the validation problems: accuracy alone would choose what always thinks."""
    reward = reward_of(SETTINGS, modes)

    def score(lab: Lab, task: Task, model: Model) -> float:
        found, grades = drawn(lab, task, model, task.validation, draws, name="validation")
        asked, streams = task.validation.problems, lab.streams.child("validation")
        graded = Graded(problems=asked, completions=found, grades=grades, streams=streams)
        return float(np.nanmean(rewards_of(reward, graded)))

    return score


def look_at(modes: tuple[int, int]) -> Look:
    """How a policy chooses its mode."""

    def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
        return routing(lab, task, model, SETTINGS, modes)._asdict()

    return look


def study(lab: Lab, subject: Subject) -> Outcome:
    """Vanilla GRPO, DeGRPO at two weights, and the control word alone, on one warm-up."""
    task, modes = prepared(lab, with_easy(embedded_task(lab, subject.base, CELLS)), SETTINGS)
    run = steps_for(RUN, subject.profile, 4)
    arms = [warm_arm(modes)]
    arms += [arm(name, replace(config, rl=run), modes) for name, config in ARMS.items()]
    sizes = sizes_for(subject.profile)
    score = paid(modes, sizes.draws)
    ran = run_plan(lab, task, arms, sizes, look_at(modes), name="when to think", score=score)
    own = values(ran, "DeGRPO", "regret")
    others = {
        "GRPO": values(ran, "GRPO", "regret"),
        "always think": values(ran, "DeGRPO", "always_think"),
        "never think": values(ran, "DeGRPO", "always_short"),
    }
    return planned(
        lab,
        task,
        ran,
        {
            "effect": over_seeds(
                f"regret: least of {', '.join(others)} - DeGRPO", np.min(list(others.values()), axis=0) - own
            ),
            **{
                f"{name} - DeGRPO": over_seeds(f"regret: {name} - DeGRPO", found - own)
                for name, found in others.items()
            },
            "against the control word only": contrast(ran, "control word only", "DeGRPO", "regret"),
            "against alpha 1": contrast(ran, "DeGRPO, alpha 1", "DeGRPO", "regret"),
            "when, not how": contrast(ran, "warm-up", "control word only", "regret"),
            "AUC of DeGRPO": level(ran, "DeGRPO", "auc"),
            "AUC of GRPO": level(ran, "GRPO", "auc"),
            "AUC of the control word only": level(ran, "control word only", "auc"),
            "share that thinks, DeGRPO": level(ran, "DeGRPO", "think"),
            "share that thinks, GRPO": level(ran, "GRPO", "think"),
            "short mode after the warm-up": level(ran, "warm-up", "short_right"),
            "thinking after the warm-up": level(ran, "warm-up", "think_right"),
            "regret of the warm-up": level(ran, "warm-up", "regret"),
        },
        setting=(
            f"CHAIN at depth 1 (known by heart), 2 and 3; {SETTINGS.fit.steps} steps of warm-up on "
            f"both modes, {run.steps} of {run.prompts} x {run.draws} draws of RL, at depths 2 and 3 on other "
            f"problems; thinking costs {SETTINGS.gamma}, a wrong answer pays -1; rates by mean reward"
        ),
    )


CLAIM = Claim(
    id="degrpo-learns-when-to-think",
    version=2,
    question="Does RL learn when to think, and does the control word need a loss of its own for it?",
    statement=(
        "With a loss of its own for the control word a policy learns when to think: it loses less reward than "
        "with one mean over all tokens, and less than by thinking always or never."
    ),
    source="Fang et al. 2025 (Thinkless), arXiv 2505.13379",
    threshold=Threshold(
        estimand="effect",
        says=(
            "regret against the best routing, in units of reward: the least of vanilla GRPO's and of always or "
            "never thinking, minus that of DeGRPO (alpha 1/1000)"
        ),
        direction=1,
        smallest=0.05,
        why="a tenth of the price of thinking; a choice blind to difficulty never beats the better mode",
    ),
    gates=(
        Gate(name="regret of the warm-up", says="there is something to route", minimum=0.05),
        Gate(name="short mode after the warm-up", says="some problems are short", minimum=0.15, maximum=0.85),
        Gate(name="thinking after the warm-up", says="thinking gets most right", minimum=0.5),
    ),
    controls=(
        Gate(
            name="when, not how",
            says="training the control word alone does not raise regret by half the price of thinking",
            minimum=-0.25,
        ),
    ),
    study=study,
    study_says="five arms on CHAIN after a two-mode warm-up; short: one warm-up, some 17 runs of 10 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +.05",
    methods=("thinkless", "degrpo", "where", "mode_priced"),
    not_shown=(
        "Answers have a dozen tokens, so the control word is drowned twelvefold and not ten-thousandfold; Adam "
        "undoes a common factor of the loss. Long thoughts of large models are not tried."
    ),
)
