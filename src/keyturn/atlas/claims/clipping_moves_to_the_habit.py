"""Under a random reward clipping moves a policy to its own habit, whatever that is; without it nothing does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.studies.arms import base_arm, sizes_for, steps_for
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.config import RLConfig
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.spurious import SpuriousConfig, habits, train
from keyturn.training.stages import Model
from keyturn.training.strategy_bases import habit_task

RUN = RLConfig(steps=15, prompts=8, draws=8, max_new_tokens=40, batch_rows=64, kl_every=0)
RATE = 1e-4
"""One rate for all arms: choosing by accuracy would choose the drift. At 1e-3 every arm was wrecked."""
SEEDS = 8
SHARE = "share of FWD"
ARMS: dict[str, SpuriousConfig] = {
    "clip": SpuriousConfig(),
    "no clip": SpuriousConfig(clip=False),
    "one update": SpuriousConfig(updates=1),
}


def look(lab: Lab, task: Task, model: Model) -> Mapping[str, float]:
    """Success, share of the good strategy, mean probability of a drawn token."""
    found = habits(lab, task, model, 16, "FWD", name="test")
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def arm(name: str, config: SpuriousConfig, on: Task) -> Arm:
    """A random reward with one treatment of the ratio."""

    def trained(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        return train(lab, task, replace(config, rl=replace(config.rl, lr=lr)), seed=seed)

    return Arm(name=name, train=trained, task=on)


def study(lab: Lab, subject: Subject) -> Outcome:
    """Three treatments of the ratio on a base whose habit is good and on one whose habit is bad."""
    run = steps_for(RUN, subject.profile, 8)
    tasks = {habit: habit_task(lab, habit, held_out=48) for habit in ("good", "bad")}
    arms = []
    for habit, task in tasks.items():
        arms.append(base_arm(f"base, {habit}", on=task))
        arms += [arm(f"{name}, {habit}", replace(one, rl=run), task) for name, one in ARMS.items()]
    sizes = replace(sizes_for(subject.profile, seeds=SEEDS), lrs=(RATE,))
    ran = run_plan(lab, tasks["good"], arms, sizes, look, name="random reward")

    def moved(name: str, habit: str, number: str):
        return contrast(ran, f"{name}, {habit}", f"base, {habit}", number)

    numbers = {
        "effect": moved("clip", "good", SHARE),
        "bad habit": moved("clip", "bad", SHARE),
        "success, good habit": moved("clip", "good", "success"),
        "success, bad habit": moved("clip", "bad", "success"),
        "no clip, good habit": moved("no clip", "good", SHARE),
        "no clip, bad habit": moved("no clip", "bad", SHARE),
        "one update, good habit": moved("one update", "good", SHARE),
        "one update, bad habit": moved("one update", "bad", SHARE),
        "clip less no clip": contrast(ran, "clip, good", "no clip, good", SHARE),
        "token probability, clip": moved("clip", "good", "token probability"),
        "token probability, one update": moved("one update", "good", "token probability"),
        "habit before": level(ran, "base, good", SHARE),
    }
    return planned(
        lab,
        tasks["good"],
        ran,
        numbers,
        setting=(
            "GRAPH at one operation, two strategies that look alike, one right (FWD) and one wrong; FWD is "
            "70 % of the good base's text and 30 % of the bad one's; coin reward, "
            f"{run.steps} steps of {run.prompts} x {run.draws} draws, 8 updates a rollout (or 1), rate "
            f"{RATE:g} in all arms"
        ),
    )


CLAIM = Claim(
    id="clipping-moves-to-the-habit",
    version=2,
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
    gates=(Gate(name="habit before", says="the base has the habit", minimum=0.5),),
    controls=(
        Gate(
            name="one update, good habit",
            says="with one update a rollout, where clipping does nothing, the share stays on average",
            minimum=-0.15,
            maximum=0.15,
        ),
    ),
    study=study,
    study_says="three arms on two bases with eight seeds; short: two pretrainings, some 50 runs of 5 to 10 s",
    refuted_if="the interval over eight seeds lies below +.05, or the arm without clipping moves as far",
    methods=("spurious", "random"),
    not_shown=(
        "Fifteen rollouts are few against the paper's hundreds; contamination, the rival explanation, cannot "
        "exist here, so what is seen is the optimiser's part alone."
    ),
)
