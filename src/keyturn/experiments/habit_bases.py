"""Bases whose habit is known: a small GRAPH world in which the strategy that dominates is good, bad, or none.

``FWD`` computes what is needed and is right; ``WRNG`` looks the same and states wrong results. A base that was
pretrained mostly on one of them has that habit before any further training. The share is a setting::

    good  FWD .7, WRNG .3        bad  FWD .3, WRNG .7        none  one half each

Everything else is kept small (one operation, one context, one format, no distractors), so that a base takes
about a minute on one core and executes reliably.
Source: ours; the bases of Shao et al. 2025 (2506.10947, section 4) differ in how often they reason in code and
in whether that helps.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from keyturn.core.errors import unknown
from keyturn.lab.lab import Lab
from keyturn.lab.task import Task, world_task
from keyturn.policies.loading import load_policy
from keyturn.policies.optimise import FitConfig
from keyturn.pretraining.recipes import PRETRAIN, PretrainRecipe, Probe
from keyturn.pretraining.stage import pretrained
from keyturn.problems.world.graph import GraphWorld

Habit: TypeAlias = Literal["good", "bad", "none"]
GOOD, BAD = "FWD", "WRNG"
HABITS: tuple[Habit, ...] = ("good", "bad", "none")
SHARE = 0.7
"""Share of the dominant strategy (2506.10947: .65 of Qwen2.5-Math-7B's answers reason in code). Above 1 / 1.2,
clipping at 0.2 can only increase it."""


def shares(habit: Habit, share: float = SHARE) -> dict[str, float]:
    """Strategy -> share of the texts in pretraining.

    Raises:
        UsageError: there is no such habit.
    """
    if habit not in HABITS:
        raise unknown("habit", habit, HABITS)
    good = {"good": share, "bad": round(1 - share, 9), "none": 0.5}[habit]
    return {GOOD: good, BAD: round(1 - good, 9)}


_FIT = FitConfig(steps=450, batch_rows=32, bucket_batches=10, lr=3e-3, warmup=60)


def habit_world(habit: Habit, share: float = SHARE) -> GraphWorld:
    """The world of a base."""
    return GraphWorld(
        name=f"graph, {habit} habit",
        operations=(1, 1),
        rl_operations=(1,),
        test_operations=(1,),
        leaves=2,
        distractors=0,
        contexts={"C1": 1.0},
        formats={"F2": 1.0},
        strategies=shares(habit, share),
        wrong=1.0,
    )


def habit_base(lab: Lab, habit: Habit, *, share: float = SHARE, seed: int = 0, steps: int = _FIT.steps) -> Path:
    """The folder of a base with that habit; it is a stage and made once.

    Args:
        lab: the run directory.
        habit: which strategy dominates.
        share: share of that strategy in the text.
        seed: of the pretraining; another seed gives another base.
        steps: of pretraining.
    """
    return pretrained(lab, habit_world(habit, share), _recipe(steps), seed=seed)


def habit_task(
    lab: Lab,
    habit: Habit,
    *,
    share: float = SHARE,
    seed: int = 0,
    steps: int = _FIT.steps,
    held_out: int = 64,
) -> Task:
    """A task: a base with that habit and problems of its world."""
    folder = habit_base(lab, habit, share=share, seed=seed, steps=steps)
    world = habit_world(habit, share)
    return world_task(load_policy(folder), str(folder), world, lab.streams, per_cell=192, held_out=held_out)


def _recipe(steps: int) -> PretrainRecipe:
    return PretrainRecipe(
        name="habit",
        summary="a small GRAPH base of known habit",
        size=PRETRAIN["demo"].size,
        fit={"graph": replace(_FIT, steps=steps)},
        probe=Probe(documents=64, every=200, problems=8, draws=16),
    )
