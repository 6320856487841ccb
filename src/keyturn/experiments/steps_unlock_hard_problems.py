"""Rewarding each step's similarity to an expert's (SRL) teaches problems on which outcome rewards cannot
start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from keyturn.experiments.arms import (
    CHAIN_RL,
    Cells,
    base_arm,
    curve,
    embedded_task,
    method_arm,
    numbers_of,
    rl_arm,
    sizes_for,
    steps_for,
    verified_only,
)
from keyturn.experiments.contract import Outcome, Subject
from keyturn.experiments.plan import Arm, Evaluate, against_best, contrast, level, run_plan
from keyturn.experiments.study import outcome_of
from keyturn.lab.fit_rows import demonstrations
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.methods.sft import TINY
from keyturn.methods.srl import METHOD as SRL
from keyturn.methods.srl import SrlConfig, hard
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS
from keyturn.rewards.step_similarity import similarity
from keyturn.training.config import RLConfig

DEPTHS = Cells(train=(5,), test=(5, 6), per_cell=96, held_out=20)
DRAWS = 64
ROUNDS = 3


def srl_arm(name: str, config: SrlConfig, says: str = "") -> Arm:
    """An arm that learns from steps, then from whole answers if the config says so."""

    def configured(lr: float) -> SrlConfig:
        return replace(
            config,
            rl=replace(config.rl, lr=lr),
            fit=replace(config.fit, lr=lr),
            rlvr=replace(config.rlvr, lr=lr),
        )

    return method_arm(name, SRL, configured, says=says)


def with_likeness(draws: int) -> Evaluate:
    """The usual numbers, and how a whole answer's similarity to the expert's relates to its being verified."""

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        given = session.answers(model, session.task.test, draws, name="test")
        completions, _ = session.draw(model, session.task.test, draws, name="test")
        pairs = demonstrations(session.task, session.task.test.problems, session.streams.child("expert"))
        gold = [text.removesuffix(" EOS") for _, text in pairs]
        alike = np.array(
            [similarity(text, gold[i]) for text, i in zip(completions.texts, given.problem, strict=True)]
        )
        spread = alike.std() * given.success.std()
        found = float(np.corrcoef(alike, given.success)[0, 1]) if spread > 0 else float("nan")
        return {**numbers_of(given), **curve(model), "likeness": float(alike.mean()), "likeness-success": found}

    return evaluate


def settings(config: RLConfig, **changed: object) -> SrlConfig:
    """Settings with equal sizes for every arm that learns from steps."""
    return replace(
        SrlConfig(hard_draws=16, rl=replace(config, rounds=ROUNDS), fit=TINY, rlvr=config), **changed
    )


def study(lab: Lab, subject: Subject) -> Outcome:
    """Compare step rewards, their controls and RLVR on problems that the base fails."""
    task = embedded_task(lab, subject.base, DEPTHS)
    config = replace(steps_for(CHAIN_RL, subject.profile), max_new_tokens=task.max_new_tokens)
    config = replace(config, prompts=12, batch_rows=96)
    half = replace(config, steps=config.steps // 2)
    then = replace(settings(half), rlvr=half, then_rlvr=True)
    asked = hard(Session(lab, task), settings(config))
    settled = replace(config, rounds=ROUNDS)
    strict = {
        "objective": OBJECTIVES["grpo"](),
        "reward": verified_only(),
        "problems": asked,
    }
    lucky = {**strict, "reward": REWARDS["outcome"]()}
    arms = [
        base_arm(),
        srl_arm("SRL", settings(config)),
        rl_arm("RLVR", config=settled, says="verified answers, the same dynamic sampling", **strict),
        rl_arm("RLVR by answers", config=settled, says="a guess in seven is paid", **lucky),
        srl_arm("SRL then RLVR", then, "half of the steps each"),
        srl_arm("shuffled targets", settings(config, targets="shuffled"), "the form of steps alone"),
        srl_arm("whole solution", settings(config, targets="whole"), "one likeness an answer"),
        srl_arm("SFT on steps", settings(config, learn="imitate"), "the same steps, equal gradient tokens"),
    ]
    runs = run_plan(Session(lab, task), arms, sizes_for(subject.profile), with_likeness(DRAWS), name="SRL")
    reached = f"pass@{DRAWS}"
    return outcome_of(
        Session(lab, task),
        runs,
        {
            "effect": against_best(runs, "SRL", ("RLVR", "SFT on steps"), "success"),
            "less RLVR": contrast(runs, "SRL", "RLVR", "success"),
            "less RLVR by answers": contrast(runs, "SRL", "RLVR by answers", "success"),
            "less SFT on steps": contrast(runs, "SRL", "SFT on steps", "success"),
            "less whole solution": contrast(runs, "SRL", "whole solution", "success"),
            "SRL then RLVR - SRL": contrast(runs, "SRL then RLVR", "SRL", "success"),
            "placebo": contrast(runs, "shuffled targets", "base", "success"),
            "base": level(runs, "base", "success"),
            "base is right": level(runs, "base", "right"),
            "base reaches": level(runs, "base", reached),
            "SRL reaches": level(runs, "SRL", reached),
            "RLVR reaches": level(runs, "RLVR", reached),
            "likeness-success": level(runs, "SRL", "likeness-success"),
        },
        setting=(
            f"base {subject.base}; depth 5, {len(asked.problems)} of {len(task.train.problems)} training "
            f"problems that 16 draws of the base leave unsolved, tested at depths 5 and 6; {config.steps} "
            f"steps of {config.prompts} x {config.draws} draws"
        ),
    )
