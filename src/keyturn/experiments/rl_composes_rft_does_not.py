"""RL on outcome rewards learns to compose known atoms; imitating the policy's own successes does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from keyturn.auditing.embedded import world_in
from keyturn.experiments.arms import (
    CHAIN_RL,
    base_arm,
    embedded_task,
    method_arm,
    numbers_on_test,
    pretrained,
    rl_arm,
    sizes_for,
    steps_for,
    verified_only,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task, world_task
from keyturn.methods.rejection import METHOD as REJECTION
from keyturn.methods.rejection import RejectionConfig
from keyturn.methods.sft import TINY
from keyturn.objectives import OBJECTIVES
from keyturn.policies.loading import load_policy
from keyturn.rewards import REWARDS
from keyturn.training.config import RLConfig

DEEP = "success depth 5"
LACKING, REST = "success atoms one absent", "success atoms all"
STEPS = 60
ROUNDS: dict[str, tuple[int, int, Literal["outcome", "verified"]]] = {
    "RFT, 1 round": (1, 200, "outcome"),
    "RFT, 5 rounds": (5, 80, "outcome"),
    "RFT on verified": (1, 200, "verified"),
}
"""Arm -> rounds, steps per fit, and which answers are imitated."""


def rejection_arm(name: str, on: Task, draws: int, way: str) -> Arm:
    """Rejection fine-tuning with the RL arm's number of draws, split over rounds."""
    rounds, steps, success = ROUNDS[way]
    each = max(round(draws / rounds), 1)

    settings = RejectionConfig(rounds=rounds, train_problems=0, draws=each, success=success, keep=4)
    fit = replace(TINY, steps=steps)
    return method_arm(
        name,
        REJECTION,
        lambda lr: replace(settings, fit=replace(fit, lr=lr)),
        says=f"{each} draws of every problem a round, {steps} steps",
        on=on,
    )


def arms_on(where: str, task: Task, config: RLConfig) -> list[Arm]:
    """The base, RL, and rejection fine-tuning on the right answers among about the same number of draws; and
    both methods where only a right answer with a verified trace counts."""
    each = round(config.steps * config.prompts * config.draws / len(task.train.problems))
    rejected = [rejection_arm(f"{name}, {where}", task, each, name) for name in ROUNDS]
    grpo = OBJECTIVES["grpo"]()
    strict = verified_only()
    trained = [
        rl_arm(f"RL, {where}", objective=grpo, reward=REWARDS["outcome"](), config=config, on=task),
        rl_arm(f"RL on verified, {where}", objective=grpo, reward=strict, config=config, on=task),
    ]
    return [base_arm(f"base, {where}", on=task), *trained, *rejected]


def atom_absent(lab: Lab) -> Task:
    """A task whose base never saw one of the functions; half of the problems need it."""
    folder = pretrained(lab, "chain-absent")
    cells = [
        [{"domain": "chain", "depth": d, "atoms": a} for d in depths for a in ("all", "one absent")]
        for depths in ((2, 3), (2, 5))
    ]
    return world_task(
        load_policy(folder), str(folder), world_in(folder), lab.streams, train=cells[0], test=cells[1]
    )


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare RL with rejection fine-tuning on bases without composition, with it, and without one atom."""
    absent = embedded_task(lab, subject.base)
    present = embedded_task(lab, str(pretrained(lab, "chain-linked")))
    config = steps_for(replace(CHAIN_RL, steps=STEPS), subject.profile, 4)
    arms = [
        *arms_on("absent", absent, config),
        *arms_on("present", present, config),
        *arms_on("an atom absent", atom_absent(lab), config),
    ]
    runs = run_plan(
        Session(lab, absent), arms, sizes_for(subject.profile), numbers_on_test(16), name="RL against RFT"
    )
    numbers = {
        "effect": contrast(runs, "RL, absent", "RFT, 1 round, absent", DEEP),
        "against five rounds": contrast(runs, "RL, absent", "RFT, 5 rounds, absent", DEEP),
        "RL learns": contrast(runs, "RL, absent", "base, absent", DEEP),
        "RFT learns where it is trained": contrast(
            runs, "RFT, 1 round, absent", "base, absent", "success depth 2"
        ),
        "base, absent": level(runs, "base, absent", DEEP),
        "base, present": level(runs, "base, present", DEEP),
        "present": contrast(runs, "RL, present", "RFT, 1 round, present", DEEP),
        "both on verified traces": contrast(runs, "RL on verified, absent", "RFT on verified, absent", DEEP),
        "RFT, verified - outcome": contrast(runs, "RFT on verified, absent", "RFT, 1 round, absent", DEEP),
        "RL learns the rest, an atom absent": contrast(
            runs, "RL, an atom absent", "base, an atom absent", REST
        ),
        "RL on verified learns the rest, an atom absent": contrast(
            runs, "RL on verified, an atom absent", "base, an atom absent", REST
        ),
        **{
            f"{name} learns the rest, an atom absent": contrast(
                runs, f"{name}, an atom absent", "base, an atom absent", REST
            )
            for name in ("RFT, 1 round", "RFT on verified")
        },
        "atom absent": contrast(runs, "RL, an atom absent", "RFT, 1 round, an atom absent", LACKING),
        "RL learns the atom": contrast(runs, "RL, an atom absent", "base, an atom absent", LACKING),
        "RL on verified learns the atom": contrast(
            runs, "RL on verified, an atom absent", "base, an atom absent", LACKING
        ),
    }
    return outcome_of(
        Session(lab, absent),
        runs,
        numbers,
        setting=(
            f"CHAIN, learnt from depths 2 and 3, judged at depth 5; {config.steps} RL steps of "
            f"{config.prompts} x {config.draws} draws, as many draws for rejection fine-tuning, at most 4 "
            "different right answers kept a problem and round, whatever their traces, as the reward pays; 'on "
            "verified': only answers behind a verified trace are paid, or kept"
        ),
    )
