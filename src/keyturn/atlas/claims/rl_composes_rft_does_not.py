"""RL on outcome rewards learns to compose known atoms; imitating one's own successes does not go beyond."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from keyturn.atlas.contract import Claim, Gate, Outcome, Subject, Threshold
from keyturn.atlas.planned import planned
from keyturn.objectives import OBJECTIVES
from keyturn.policies.loading import load_policy
from keyturn.rewards import REWARDS
from keyturn.rewards.process import ProcessConfig, process
from keyturn.studies.arms import (
    CHAIN_RL,
    base_arm,
    embedded_task,
    pretrained,
    rl_arm,
    sizes_for,
    steps_for,
    usual,
)
from keyturn.studies.embedded import world_in
from keyturn.studies.plan import Arm, contrast, level, run_plan
from keyturn.training.config import RLConfig
from keyturn.training.contract import Task
from keyturn.training.lab import Lab
from keyturn.training.recipes.rejection import RejectionConfig, iterate
from keyturn.training.recipes.sft import TINY
from keyturn.training.stages import Model
from keyturn.training.tasks import world_task

DEEP = "success depth 5"
LACKING, REST = "success atoms one absent", "success atoms all"
STEPS = 60
ROUNDS: dict[str, tuple[int, int, Literal["outcome", "verified"]]] = {
    "RFT, 1 round": (1, 200, "outcome"),
    "RFT, 5 rounds": (5, 80, "outcome"),
    "RFT on verified": (1, 200, "verified"),
}
"""Arm -> rounds, steps of each round's fit, and which answers are imitated."""


def rejection_arm(name: str, on: Task, draws: int, way: str) -> Arm:
    """Rejection fine-tuning with the draws of the RL arm, dealt over rounds."""
    rounds, steps, success = ROUNDS[way]
    each = max(round(draws / rounds), 1)

    def train(lab: Lab, task: Task, lr: float, seed: int) -> Model:
        settings = RejectionConfig(
            rounds=rounds,
            problems=0,
            draws=each,
            success=success,
            keep=4,
            fit=replace(TINY, steps=steps, lr=lr),
        )
        return iterate(lab, task, settings, seed=seed)[0]

    return Arm(name=name, train=train, says=f"{each} draws of every problem a round, {steps} steps", task=on)


def arms_on(where: str, task: Task, config: RLConfig) -> list[Arm]:
    """The base, RL, and rejection fine-tuning on the right answers among about as many draws; and both where
    only a right answer behind a verified trace counts."""
    each = round(config.steps * config.prompts * config.draws / len(task.train.problems))
    rejected = [rejection_arm(f"{name}, {where}", task, each, name) for name in ROUNDS]
    grpo = OBJECTIVES["grpo"]()
    strict = process(ProcessConfig(strict=True))
    trained = [
        rl_arm(f"RL, {where}", objective=grpo, reward=REWARDS["outcome"](), config=config, on=task),
        rl_arm(f"RL on verified, {where}", objective=grpo, reward=strict, config=config, on=task),
    ]
    return [base_arm(f"base, {where}", on=task), *trained, *rejected]


def atom_absent(lab: Lab) -> Task:
    """A base that never saw one of the functions; half of the problems need it."""
    folder = pretrained(lab, "chain-absent")
    cells = [
        [{"domain": "chain", "depth": d, "atoms": a} for d in depths for a in ("all", "one absent")]
        for depths in ((2, 3), (2, 5))
    ]
    return world_task(
        load_policy(folder), str(folder), world_in(folder), lab.streams, train=cells[0], test=cells[1]
    )


def study(lab: Lab, subject: Subject) -> Outcome:
    """RL against rejection fine-tuning where composing is absent, where it is present, and without an atom."""
    absent = embedded_task(lab, subject.base)
    present = embedded_task(lab, str(pretrained(lab, "chain-linked")))
    config = steps_for(replace(CHAIN_RL, steps=STEPS), subject.profile, 4)
    arms = [
        *arms_on("absent", absent, config),
        *arms_on("present", present, config),
        *arms_on("an atom absent", atom_absent(lab), config),
    ]
    ran = run_plan(lab, absent, arms, sizes_for(subject.profile), usual(16), name="RL against RFT")
    numbers = {
        "effect": contrast(ran, "RL, absent", "RFT, 1 round, absent", DEEP),
        "against five rounds": contrast(ran, "RL, absent", "RFT, 5 rounds, absent", DEEP),
        "RL learns": contrast(ran, "RL, absent", "base, absent", DEEP),
        "RFT learns where it is trained": contrast(
            ran, "RFT, 1 round, absent", "base, absent", "success depth 2"
        ),
        "base, absent": level(ran, "base, absent", DEEP),
        "base, present": level(ran, "base, present", DEEP),
        "present": contrast(ran, "RL, present", "RFT, 1 round, present", DEEP),
        "both on verified traces": contrast(ran, "RL on verified, absent", "RFT on verified, absent", DEEP),
        "RFT, verified - outcome": contrast(ran, "RFT on verified, absent", "RFT, 1 round, absent", DEEP),
        "RL learns the rest, an atom absent": contrast(ran, "RL, an atom absent", "base, an atom absent", REST),
        "RL on verified learns the rest, an atom absent": contrast(
            ran, "RL on verified, an atom absent", "base, an atom absent", REST
        ),
        **{
            f"{name} learns the rest, an atom absent": contrast(
                ran, f"{name}, an atom absent", "base, an atom absent", REST
            )
            for name in ("RFT, 1 round", "RFT on verified")
        },
        "atom absent": contrast(ran, "RL, an atom absent", "RFT, 1 round, an atom absent", LACKING),
        "RL learns the atom": contrast(ran, "RL, an atom absent", "base, an atom absent", LACKING),
        "RL on verified learns the atom": contrast(
            ran, "RL on verified, an atom absent", "base, an atom absent", LACKING
        ),
    }
    return planned(
        lab,
        absent,
        ran,
        numbers,
        setting=(
            f"CHAIN, learnt from depths 2 and 3, judged at depth 5; {config.steps} RL steps of "
            f"{config.prompts} x {config.draws} draws, as many draws for rejection fine-tuning, at most 4 "
            "different right answers kept a problem and round, whatever their traces, as the reward pays; 'on "
            "verified': only answers behind a verified trace are paid, or kept"
        ),
    )


CLAIM = Claim(
    id="rl-composes-rft-does-not",
    version=3,
    question="Does RL create a skill that imitating one's own successes does not?",
    statement=(
        "A model that knows functions one by one learns to compose them from outcome rewards, and goes on "
        "beyond the depths it was trained at; rejection fine-tuning on the same successes does not."
    ),
    source="Yuan et al. 2025, From f(x) and g(x) to f(g(x)), arXiv 2509.25123",
    threshold=Threshold(
        estimand="effect",
        says="success at depth 5, RL minus one round of rejection fine-tuning, mean over seeds",
        direction=1,
        smallest=0.1,
        why="a tenth of the problems two depths beyond training",
    ),
    gates=(
        Gate(name="RL learns", says="RL learnt something at that depth", minimum=0.0),
        Gate(name="base, absent", says="the base does not compose already", maximum=0.2),
    ),
    controls=(
        Gate(
            name="RFT learns where it is trained",
            says="rejection fine-tuning raises success at depth 2, so that it is not simply broken",
            minimum=0.0,
        ),
    ),
    study=study,
    study_says="six arms on each of three CHAIN bases; short: two pretrainings, some 70 runs of 4 to 12 s",
    default=Subject(base="chain"),
    refuted_if="the interval over seeds lies below +0.1",
    methods=("rejection", "grpo"),
    not_shown=(
        "One base of 0.35M parameters stands for all; traces here show every step, where the paper's model "
        "must compose in text of its own. Where RL does not learn the rest of the problems, its failing to "
        "learn the absent atom says nothing. One right answer in seven is luck; where "
        "only verified traces are kept the difference is another one, and it is in the table."
    ),
)
