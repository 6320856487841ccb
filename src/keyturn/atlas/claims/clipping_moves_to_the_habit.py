"""Under a random reward clipping moves a policy to its own habit, whatever that is; without it nothing does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.problems.world.graph import GraphWorld
from keyturn.studies.arms import base_arm, sizes_for, steps_for
from keyturn.studies.plan import Arm, Contrast, Ran, contrast, level, over_seeds, run_plan, values
from keyturn.training.config import RLConfig
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.spurious import SpuriousConfig, habits, train
from keyturn.training.stages import Model
from keyturn.training.strategy_bases import Habit, habit_task

RUN = RLConfig(steps=15, prompts=8, draws=8, max_new_tokens=40, batch_rows=64, kl_every=0)
RATE = 1e-4
"""One rate for all arms: choosing by accuracy would choose the drift. At 1e-3 every arm was wrecked."""
SEEDS = 8
SHARE = "share of the habit"
HABITS: tuple[Habit, ...] = ("good", "bad")
ARMS: dict[str, SpuriousConfig] = {
    "clip": SpuriousConfig(),
    "no clip": SpuriousConfig(clip=False),
    "one update": SpuriousConfig(updates=1),
}
# Bounds of the controls: twice what the 95 % interval of the number reached with eight seeds in version 2 (.029
# for one update, whose smallest visible effect was .039; .014 and .048 for the others), so that noise alone
# seldom fails one.


def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
    """Success, share of the strategy that dominated the base's text, mean probability of a drawn token."""
    assert isinstance(task.world, GraphWorld), "bases of a known habit are of GRAPH"
    strategies = task.world.strategies
    habit = max(strategies, key=lambda name: strategies[name])
    found = habits(lab, task, model, 16, habit, name="test")
    means = {name: float(np.nanmean(rates)) for name, rates in found.items()}
    return {SHARE: means.pop(f"share of {habit}"), **means}


def arm(name: str, config: SpuriousConfig, on: Task) -> Arm:
    """A random reward with one treatment of the ratio."""

    def trained(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return train(lab, task, replace(config, rl=replace(config.rl, lr=lr)), seed=seed)

    return Arm(name=name, train=trained, task=on)


def further(ran: Sequence[Ran], name: str, control: str) -> Contrast:
    """How much further an arm goes towards the habit than another: mean over both bases, seed by seed."""
    gaps = [
        values(ran, f"{name}, {habit}", SHARE) - values(ran, f"{control}, {habit}", SHARE) for habit in HABITS
    ]
    return over_seeds(f"{SHARE}: {name} - {control}, both bases", np.mean(gaps, axis=0))


def compared(ran: Sequence[Ran]) -> dict[str, Contrast]:
    """The claim's numbers; a share is that of the base's own habit, FWD on the good one and WRNG on the bad."""

    def moved(name: str, habit: str, number: str) -> Contrast:
        return contrast(ran, f"{name}, {habit}", f"base, {habit}", number)

    return {
        "effect": moved("clip", "good", SHARE),
        "bad habit": moved("clip", "bad", SHARE),
        "success, good habit": moved("clip", "good", "success"),
        "success, bad habit": moved("clip", "bad", "success"),
        **{
            f"{name}, {habit} habit": moved(name, habit, SHARE)
            for name in ("no clip", "one update")
            for habit in HABITS
        },
        "clip less no clip": further(ran, "clip", "no clip"),
        **{
            f"clip less no clip, {habit} habit": contrast(ran, f"clip, {habit}", f"no clip, {habit}", SHARE)
            for habit in HABITS
        },
        "token probability, clip": moved("clip", "good", "token probability"),
        "token probability, one update": moved("one update", "good", "token probability"),
        "habit before": level(ran, "base, good", SHARE),
        "habit before, bad": level(ran, "base, bad", SHARE),
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """Three treatments of the ratio on a base whose habit is good and on one whose habit is bad."""
    run = steps_for(RUN, subject.profile, 8)
    tasks = {habit: habit_task(lab, habit, held_out=48) for habit in HABITS}
    arms = []
    for habit, task in tasks.items():
        arms.append(base_arm(f"base, {habit}", on=task))
        arms += [arm(f"{name}, {habit}", replace(one, rl=run), task) for name, one in ARMS.items()]
    sizes = replace(sizes_for(subject.profile, seeds=SEEDS), lrs=(RATE,))
    ran = run_plan(lab, tasks["good"], arms, sizes, look, name="random reward")
    return planned(
        lab,
        tasks["good"],
        ran,
        compared(ran),
        setting=(
            "GRAPH at one operation, two strategies that look alike, one right (FWD) and one wrong; FWD is "
            "70 % of the good base's text and 30 % of the bad one's; coin reward, "
            f"{run.steps} steps of {run.prompts} x {run.draws} draws, 8 updates a rollout (or 1), "
            f"rate {RATE:g} in all arms"
        ),
    )


CLAIM = Claim(
    id="clipping-moves-to-the-habit",
    version=3,
    question="Why does a random reward raise accuracy in some models?",
    statement=(
        "With several updates a rollout, clipping alone moves a policy to its dominant strategy under a reward "
        "that knows nothing: up where that strategy is good, down where it is bad."
    ),
    source="Shao et al. 2025 (Spurious rewards), arXiv 2506.10947, section 4",
    threshold=Threshold(
        estimand="effect",
        says="share of the dominant, good strategy after training on a coin with clipping, minus before",
        direction=1,
        smallest=0.05,
        why="a twentieth of all draws re-routed",
    ),
    gates=(
        Gate(name="habit before", says="the good base has the good habit", minimum=0.5),
        Gate(name="habit before, bad", says="the bad base has the bad habit", minimum=0.5),
    ),
    controls=(
        Gate(
            name="one update, good habit",
            says="with one update a rollout, where clipping does nothing, the share stays on average",
            minimum=-0.06,
            maximum=0.06,
        ),
        Gate(
            name="clip less no clip",
            says="without clipping the bases go no further towards their habits: it is not the updates alone",
            minimum=-0.03,
        ),
        Gate(
            name="bad habit",
            says="the bad base does not leave its habit: it is not the good strategy that is moved to",
            minimum=-0.1,
        ),
    ),
    study=study,
    study_says="three arms on two bases with eight seeds; short: two pretrainings, some 50 runs of 5 to 10 s",
    refuted_if=(
        "the interval over eight seeds lies below +.05 on the base whose habit is good; a bad base that leaves "
        "its habit, or no clipping that goes further than clipping, makes the run invalid"
    ),
    methods=("spurious", "random"),
    not_shown=(
        "Fifteen rollouts are few against the paper's hundreds; contamination, the rival explanation, cannot "
        "exist here, so what is seen is the optimiser's part alone. The arm of one update takes an eighth of "
        "the updates of the others. Without a visible shift of the bad base, support is for the good one."
    ),
)
