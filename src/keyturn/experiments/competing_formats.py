"""Formats: a base that uses two formats is trained by RL. Which format survives, and is it the better one?

A base is pretrained on GRAPH with format ``F2`` in a share ``frequency`` of its text (``F1`` in the rest), and
with wrong results at rates ``noise`` in each; RL with the outcome reward follows, with or without a penalty
towards the base.
Denominator: for shares, all draws on the test problems; for accuracies, the draws in each format.
Degenerate: a format that is never drawn has no accuracy (the value in its row is empty).
Known bias: at equal accuracy the share of a format drifts with the sampling noise of RL; an arm with a random
reward shows how far.
Source: Zhao et al. 2025, Echo chamber (2504.07912): RL converges on one format of pretraining; Shao et al. 2025
(2506.10947) for drift without reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json, json_number
from keyturn.experiments.contract import Experiment
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.contract import MethodResult
from keyturn.objectives.grpo import GrpoConfig, grpo
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.world.graph import GraphWorld
from keyturn.rewards.by_name import reward_named
from keyturn.rollouts.grades import Answers
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=30, prompts=8, draws=8, max_new_tokens=64, batch_rows=64, lr=1e-3, kl_every=0)
ONE = ({"domain": "graph", "operations": 1},)


@dataclass(frozen=True, kw_only=True)
class FormatsConfig:
    """Settings of the competition between formats."""

    frequency: float = 0.3
    """Share of F2 in pretraining; the rest is F1."""
    noise: tuple[float, float] = (0.0, 0.0)
    """Rates of wrong results in pretraining, in F1 and F2."""
    size: Size = field(default_factory=Size)
    """Shape of the base."""
    steps: int = 1200
    """Pretraining steps. A base a third as large had 6 % of problems right after 800, and RL changed
    nothing."""
    kl_weight: float = 0.0
    """Penalty towards the base, k3, per nat."""
    reward: str = "outcome"
    """How verdicts become rewards; ``random`` is the control."""
    rl: RLConfig = RUN
    """Sizes and rates of RL."""
    draws: int = 16
    """Draws per test problem."""


def task_of(lab: Lab, config: FormatsConfig, *, seed: int = 0) -> Task:
    """The base that the config describes, on problems of one operation.

    Raises:
        UsageError: a frequency outside 0 to 1: the mixture would not sum to one.
    """
    if not 0 <= config.frequency <= 1:
        raise UsageError(
            f"a share of {config.frequency} of F2 leaves {1 - config.frequency} for F1",
            fix="a frequency between 0 and 1",
        )
    world = GraphWorld(
        name="graph-formats",
        operations=(1, 1),
        rl_operations=(1,),
        test_operations=(1,),
        distractors=1,
        contexts={"C1": 1.0},
        formats={"F1": 1 - config.frequency, "F2": config.frequency},
        strategies={"FWD": 1.0},
        noise={name: rate for name, rate in zip(("F1", "F2"), config.noise, strict=True) if rate},
    )
    recipe = quick(world, steps=config.steps, size=config.size)
    # F1 is longer than F2: in batches of like length the shares would not be learnt as the mixture has them.
    recipe = replace(recipe, fit={"graph": replace(recipe.fit["graph"], bucket_batches=1)})
    folder = pretrained(lab, world, recipe, seed=seed)
    return task_in(lab, folder, world, train=ONE, test=ONE, per_cell=200, held_out=48)


def trained(session: Session, config: FormatsConfig) -> Model:
    """RL on the base."""
    return session.rl(
        session.base,
        objective=grpo(GrpoConfig(kl_weight=config.kl_weight)),
        reward=reward_named(config.reward),
        config=config.rl,
        label=f"RL {config.reward}",
    )


def by_format(given: Answers) -> dict[str, tuple[float, float]]:
    """Format -> its share of the draws and its rate of success (NaN where it is never drawn)."""
    written = given.columns["format"].astype(str)
    out = {}
    for name in ("F1", "F2"):
        own = written == name
        known = given.success[own & np.isfinite(given.success)]
        out[name] = (float(own.mean()), float(known.mean()) if len(known) else float("nan"))
    return out


def run(lab: Lab, config: FormatsConfig) -> MethodResult:
    """Pretrain, reinforce, and say who has won."""
    session = Session(lab, task_of(lab, config))
    models = {"base": session.base, "RL": trained(session, config)}
    lines: list[Mapping[str, Json]] = []
    for name, model in models.items():
        found = by_format(session.answers(model, session.task.test, config.draws, name=f"formats {name}"))
        for written, (share, rate) in found.items():
            lines.append(
                {
                    "name": f"{name}: share of {written}",
                    "value": json_number(share),
                    "success": json_number(rate),
                    "draws": config.draws,
                    "problems": len(session.task.test.problems),
                }
            )
    return MethodResult(
        policies={"policy": models["RL"].path, "base": session.base.path},
        rows=(*lines, *session.scores(models, config.draws)),
    )


def brief(config: FormatsConfig) -> FormatsConfig:
    """Two steps of each."""
    return replace(
        config, steps=2, rl=replace(config.rl, steps=2, prompts=2, draws=2, max_new_tokens=16), draws=1
    )


EXPERIMENT = Experiment(
    name="formats",
    summary="pretrain two formats at a frequency and an accuracy each, then see which one RL leaves",
    source="Zhao et al. 2025 (Echo chamber), arXiv 2504.07912",
    cost="demo: a base of 700 steps and 30 RL steps; study: 2,600 and 300; real: a larger base",
    profiles={
        "demo": FormatsConfig(steps=700),
        "study": FormatsConfig(steps=2600, size=Size(), rl=replace(RUN, steps=300), draws=64),
        "real": FormatsConfig(
            steps=2600, size=Size(hidden=256, layers=6), rl=replace(RUN, steps=300), draws=64
        ),
    },
    brief=brief,
    run=run,
)
