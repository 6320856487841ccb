"""Under a random reward, clipping moves a policy to its own habit, good or bad; without it nothing does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import base_arm, method_arm, sizes_for, steps_for
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.habit_bases import Habit, habit_task
from keyturn.experiments.plan import Arm, ArmRun, Contrast, contrast, level, over_seeds, run_plan, values
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.spurious import METHOD as SPURIOUS
from keyturn.methods.spurious import SpuriousConfig, habits
from keyturn.problems.world.graph import GraphWorld
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=15, prompts=8, draws=8, max_new_tokens=40, batch_rows=64, kl_every=0)
RATE = 1e-4
"""One learning rate for all arms: choosing it by accuracy would select for drift. At 1e-3 every arm
collapsed."""
SEEDS = 8
SHARE = "share of the habit"
HABITS: tuple[Habit, ...] = ("good", "bad")
ARMS: dict[str, SpuriousConfig] = {
    "clip": SpuriousConfig(),
    "no clip": SpuriousConfig(clip=False),
    "one update": SpuriousConfig(updates=1),
}
# Bounds of the controls: twice the farthest end of the number's 95 % interval with eight seeds in version 2
# (.029 for one update, whose smallest visible effect was .039; .014 and .048 for the others), so that noise
# alone rarely makes a control fail.


def evaluate(session: Session, model: Model) -> Mapping[str, float]:
    """Success, share of the strategy that dominated the base's text, and mean probability of a sampled
    token."""
    assert isinstance(session.task.world, GraphWorld), "bases of a known habit are of GRAPH"
    strategies = session.task.world.strategies
    habit = max(strategies, key=lambda name: strategies[name])
    found = habits(session, model, 16, habit, name="test")
    means = {name: float(np.nanmean(rates)) for name, rates in found.items()}
    return {SHARE: means.pop(f"share of {habit}"), **means}


def arm(name: str, config: SpuriousConfig, on: Task) -> Arm:
    """An arm with a random reward and one treatment of the importance ratio."""

    return method_arm(name, SPURIOUS, lambda lr: replace(config, rl=replace(config.rl, lr=lr)), on=on)


def further(runs: Sequence[ArmRun], name: str, control: str) -> Contrast:
    """How much further one arm moves towards the habit than another, averaged over both bases, paired by
    seed."""
    gaps = [
        values(runs, f"{name}, {habit}", SHARE) - values(runs, f"{control}, {habit}", SHARE) for habit in HABITS
    ]
    return over_seeds(f"{SHARE}: {name} - {control}, both bases", np.mean(gaps, axis=0))


def compared(runs: Sequence[ArmRun]) -> dict[str, Contrast]:
    """The claim's numbers. A share is that of the base's own habit: FWD on the good base, WRNG on the bad
    one."""

    def moved(name: str, habit: str, number: str) -> Contrast:
        return contrast(runs, f"{name}, {habit}", f"base, {habit}", number)

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
        "clip less no clip": further(runs, "clip", "no clip"),
        **{
            f"clip less no clip, {habit} habit": contrast(runs, f"clip, {habit}", f"no clip, {habit}", SHARE)
            for habit in HABITS
        },
        "token probability, clip": moved("clip", "good", "token probability"),
        "token probability, one update": moved("one update", "good", "token probability"),
        "habit before": level(runs, "base, good", SHARE),
        "habit before, bad": level(runs, "base, bad", SHARE),
    }


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare three treatments of the ratio on a base with a good habit and on a base with a bad one."""
    run = steps_for(RUN, subject.profile, 8)
    tasks = {habit: habit_task(lab, habit, held_out=48) for habit in HABITS}
    arms = []
    for habit, task in tasks.items():
        arms.append(base_arm(f"base, {habit}", on=task))
        arms += [arm(f"{name}, {habit}", replace(one, rl=run), task) for name, one in ARMS.items()]
    sizes = replace(sizes_for(subject.profile, seeds=SEEDS), lrs=(RATE,))
    runs = run_plan(Session(lab, tasks["good"]), arms, sizes, evaluate, name="random reward")
    return outcome_of(
        Session(lab, tasks["good"]),
        runs,
        compared(runs),
        setting=(
            "GRAPH at one operation, two strategies that look alike, one right (FWD) and one wrong; FWD is "
            "70 % of the good base's text and 30 % of the bad one's; coin reward, "
            f"{run.steps} steps of {run.prompts} x {run.draws} draws, 8 updates a rollout (or 1), "
            f"rate {RATE:g} in all arms"
        ),
    )
