"""Simple rewards in a new domain: what emerges under an outcome reward, and were the traces there already?

A base from one arm of a domain (long traces rare, or absent) is trained by RL with the outcome reward alone.
The *base* then scores the successful traces of the tuned policy: a trace with probability above 1 / K under
the base was already within reach of K draws.
Formula: ``found = share of the tuned policy's distinct verified completions y with P_base(y) > 1 / budget``,
and the base's own ``pass@draws``.
Denominator: distinct verified completions of the tuned policy.
Degenerate: if no completion is verified, nothing is scored and the row has no value.
Known bias: a completion may be unlikely while success is likely through many other completions. So ``found``
is a lower bound of what the base could do, and pass@draws is reported beside it.
Source: Zeng et al. 2025, SimpleRL-Zoo (2503.18892); the emergence of long traces from a rare mixture,
2510.11495, which we know only from citations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from keyturn.core.measurement import Json, json_number
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.experiments.contract import Experiment
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task
from keyturn.methods.contract import MethodResult
from keyturn.objectives.grpo import grpo
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.world.worlds import World, world_named
from keyturn.rewards import REWARDS
from keyturn.training.config import RLConfig
from keyturn.training.update import logprobs_under

RUN = RLConfig(steps=40, prompts=8, draws=8, max_new_tokens=64, batch_rows=64, lr=1e-3, kl_every=0)


@dataclass(frozen=True, kw_only=True)
class NewDomainConfig:
    """Settings of RL in a new domain."""

    world: str = "par"
    """Name of a world; its arms differ in the pretraining text (``par``, ``par-absent``,
    ``create-absent``...)."""
    steps: int = 1000
    """Pretraining steps; after 400 a base of PAR has no verified answer at all."""
    budget: int = 64
    """K: number of draws within which a trace counts as already there."""
    rl: RLConfig = RUN
    """Sizes and rates of RL."""
    draws: int = 16
    """Draws per test problem."""
    per_cell: int = 64
    """Training problems per cell."""


def task_of(lab: Lab, config: NewDomainConfig, *, world: World | None = None, seed: int = 0) -> Task:
    """The base and the problems of its domain; ``world`` replaces the world named in the config."""
    world = world or world_named(config.world)
    folder = pretrained(lab, world, quick(world, steps=config.steps), seed=seed)
    return task_in(lab, folder, world, per_cell=config.per_cell, held_out=16)


def trained(session: Session, config: NewDomainConfig) -> Model:
    """RL with the outcome reward alone."""
    settings = replace(config.rl, max_new_tokens=session.task.max_new_tokens)
    return session.rl(
        session.base,
        objective=grpo(),
        reward=REWARDS["outcome"](),
        config=settings,
        label=f"RL {config.world}",
    )


def already_there(session: Session, tuned: Model, config: NewDomainConfig) -> dict[str, float]:
    """``found``, mean log-probability under the base in nats, and the number of scored traces."""
    completions, grades = session.draw(tuned, session.task.test, config.draws, name="traces")
    texts: dict[tuple[int, bytes], int] = {}
    for index in np.flatnonzero(grades.verified >= 1):
        texts.setdefault((int(completions.problem[index]), completions.row(int(index)).tobytes()), int(index))
    rows = np.array(sorted(texts.values()), dtype=np.int64)
    if not len(rows):
        return {"found": math.nan, "log-probability": math.nan, "traces": 0.0}
    chosen = completions.select(rows)

    def compute() -> Mapping[str, np.ndarray]:
        under = logprobs_under(session.task.base, chosen, config.rl.update.micro_tokens)
        return {"logprob": under.double().sum(1).cpu().numpy()}

    fields = {"base": session.task.base, "traces": chosen.fingerprint}
    _, found = session.lab.arrays("already", fields, compute, label="score by the base")
    logprob = found["logprob"]
    return {
        "found": float((logprob > -math.log(config.budget)).mean()),
        "log-probability": float(logprob.mean()),
        "traces": float(len(logprob)),
    }


def run(lab: Lab, config: NewDomainConfig) -> MethodResult:
    """Pretrain, run RL, and score the traces under the base."""
    session = Session(lab, task_of(lab, config))
    tuned = trained(session, config)
    given = session.answers(session.base, session.task.test, config.budget, name="base at the budget")
    n, c = given.counts()
    there = already_there(session, tuned, config)
    lines: list[Mapping[str, Json]] = [
        {
            "name": f"base pass@{config.budget}",
            "value": json_number(float(np.mean(pass_at_k(n, c, config.budget)))),
            "problems": len(session.task.test.problems),
        },
        {
            "name": f"share of the tuned traces that the base gives within {config.budget} draws",
            "value": json_number(there["found"]),
            "traces": int(there["traces"]),
            "nats": json_number(there["log-probability"]),
        },
    ]
    models = {"base": session.base, "RL": tuned}
    return MethodResult(
        policies={"policy": tuned.path, "base": session.base.path},
        rows=(*lines, *session.scores(models, config.draws)),
    )


def brief(config: NewDomainConfig) -> NewDomainConfig:
    """The same settings with two steps of everything."""
    return replace(
        config,
        steps=2,
        budget=2,
        rl=replace(config.rl, steps=2, prompts=2, draws=2),
        draws=1,
        per_cell=2,
    )


EXPERIMENT = Experiment(
    name="new-domain",
    summary="outcome rewards in a domain that pretraining hardly holds: what emerges, and was it there already",
    source="Zeng et al. 2025 (SimpleRL-Zoo), arXiv 2503.18892",
    cost="demo: a base of 1,000 steps and 40 RL steps; study: 2,000 and 400; real: as study",
    profiles={
        "demo": NewDomainConfig(),
        "study": NewDomainConfig(steps=2000, rl=replace(RUN, steps=400), budget=256, draws=64, per_cell=256),
        "real": NewDomainConfig(steps=2000, rl=replace(RUN, steps=400), budget=256, draws=64, per_cell=256),
    },
    brief=brief,
    run=run,
)
