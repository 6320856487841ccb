"""Edge of competence: what RL gains from problems that are mastered, at the edge, or out of reach.

A base is pretrained on GRAPH with up to two operations; a share ``exposure`` of its text has context ``C2``. RL
trains on problems of one zone: ``in`` (one operation), ``edge`` (two), ``hard`` (three), or ``mixed`` (all).
Before RL, a share ``mid`` of the compute goes to supervised *mid-training* on gold traces of the same problems.
Test problems have one to four operations (extrapolation) in both contexts (generalisation).
Formula of compute, in passes per token: supervised training costs 3 (forward, backward), RL costs 4 (one more
forward to sample it). RL therefore gets ``(1 - mid)`` of its steps, and mid-training gets as many steps as the
rest pays for. ``p`` is the mean prompt length over the zone in tokens, ``g`` the mean length of a gold trace,
``n`` the completions per problem and ``c`` their mean length::

    a row of mid-training: 3 (p + g)        a problem of RL: 4 (p + n c)

because all draws of a problem share one pass over its prompt.
Denominator: test problems of the cell.
Degenerate: ``mid = 1`` is supervised training only; with ``exposure = 0`` the base sees no token of ``C2``
before the test.
Known bias: zones are defined by the number of operations, not measured per problem; the base's card holds the
measured ones. ``c`` is measured on the base with one draw per problem, so later changes of length under RL are
not accounted for.
Source: Zhang, Neubig and Yue 2025 (2512.07783), sections 4 and 6. Departures: sizes; compute counted in passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from keyturn.auditing.embedded import MODELS, world_in
from keyturn.core.errors import UsageError
from keyturn.core.measurement import Json
from keyturn.experiments.contract import Experiment
from keyturn.lab.fit_rows import demonstrations, supervised
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, subset
from keyturn.methods.contract import MethodResult
from keyturn.methods.sft import TINY
from keyturn.objectives.grpo import grpo
from keyturn.policies.fit import Row
from keyturn.policies.optimise import FitConfig
from keyturn.pretraining.recipes import Size
from keyturn.pretraining.stage import pretrained, quick, task_in
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.graph import GraphWorld
from keyturn.rewards import REWARDS
from keyturn.training.config import RLConfig

RUN = RLConfig(steps=30, prompts=8, draws=8, max_new_tokens=72, batch_rows=64, lr=1e-3, kl_every=0)
ZONES: dict[str, tuple[int, ...]] = {"in": (1,), "edge": (2,), "hard": (3,), "mixed": (1, 2, 3)}
"""Zone -> operations of the problems that RL asks."""
SUPERVISED_PASSES, RL_PASSES = 3, 4


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """Settings of an edge-of-competence run."""

    zone: Literal["in", "edge", "hard", "mixed"] = "edge"
    """Where RL's problems come from."""
    exposure: float = 0.01
    """Share of context C2 in pretraining (2512.07783: 0, .001, .01, .1)."""
    mid: float = 0.0
    """Share of the compute for mid-training, 0 to 1."""
    size: Size = field(default_factory=lambda: Size(hidden=64, inner=172, layers=2))
    """Shape of the base."""
    steps: int = 1200
    """Pretraining steps; 0 takes the shipped GRAPH base with the exposure it was trained with."""
    fit: FitConfig = field(default_factory=lambda: replace(TINY, lr=5e-4))
    """Mid-training; the number of steps follows from the compute."""
    rl: RLConfig = RUN
    """RL settings if RL gets all of the compute."""
    draws: int = 16
    """Draws per test problem."""


def task_of(lab: Lab, config: EdgeConfig, *, seed: int = 0) -> Task:
    """The base that the config describes, with test problems of one to four operations in two contexts.

    Args:
        lab: the run directory.
        config: settings.
        seed: of the pretraining.
    """
    if not 0 <= config.exposure <= 1 or not 0 <= config.mid <= 1:
        raise UsageError(
            f"exposure {config.exposure} and mid {config.mid} are shares", fix="numbers between 0 and 1"
        )
    world = GraphWorld(
        name="graph-edge",
        operations=(1, 2),
        distractors=1,
        contexts={"C1": 1 - config.exposure, "C2": config.exposure},
        formats={"F1": 1.0},
        strategies={"FWD": 1.0},
    )
    if config.steps:
        folder = pretrained(lab, world, quick(world, steps=config.steps, size=config.size), seed=seed)
    else:
        folder = MODELS / "graph"
        world = world_in(folder)
    train = [{"domain": "graph", "operations": n, "context": "C1"} for n in (1, 2, 3)]
    test = [{"domain": "graph", "operations": n, "context": c} for n in (1, 2, 3, 4) for c in ("C1", "C2")]
    return task_in(lab, folder, world, train=train, test=test, per_cell=200, held_out=16)


def split_of(config: EdgeConfig, row: float, group: float) -> tuple[int, int]:
    """The numbers of mid-training and RL steps that the compute pays for.

    Args:
        config: settings.
        row: tokens of one mid-training row: prompt and gold trace.
        group: tokens of one RL problem: the prompt once and all its draws.
    """
    steps = round((1 - config.mid) * config.rl.steps)
    paid = (config.rl.steps - steps) * config.rl.prompts * group * RL_PASSES
    return round(paid / (row * config.fit.batch_rows * SUPERVISED_PASSES)), steps


def tokens_of(
    session: Session, config: EdgeConfig, problems: ProblemSet, rows: Sequence[Row]
) -> tuple[float, float]:
    """Mean tokens of a mid-training row, and of an RL problem as the base answers it."""
    found, _ = session.draw(session.base, problems, 1, name="lengths")
    prompt = float(np.diff(found.prompts.offsets).mean())
    answer = float(np.minimum(found.lengths, config.rl.max_new_tokens).mean())
    return float(np.mean([len(row.tokens) for row in rows])), prompt + config.rl.draws * answer


def trained(session: Session, config: EdgeConfig) -> Model:
    """Mid-training, then RL, on problems of the zone."""
    asked = [p for p in session.task.train.problems if p.cell["operations"] in ZONES[config.zone]]
    problems = subset(session.task.train, asked, config.zone)
    now, steps = session.base, config.rl.steps
    if config.mid:
        shown = supervised(
            session.task.base, demonstrations(session.task, asked, session.streams.child("expert"))
        )
        sizes = tokens_of(session, config, problems, shown)
        supervised_steps, steps = split_of(config, *sizes)
        if supervised_steps:
            warmup = min(config.fit.warmup, supervised_steps // 4)
            fit = replace(config.fit, steps=supervised_steps, warmup=warmup)
            now = session.fit(
                now,
                shown,
                fit,
                label="mid-training",
            )
    if not steps:
        return now
    return session.rl(
        now,
        objective=grpo(),
        reward=REWARDS["outcome"](),
        config=replace(config.rl, steps=steps),
        problems=problems,
        label=f"RL {config.zone}",
    )


def run(lab: Lab, config: EdgeConfig) -> MethodResult:
    """Pretrain, mid-train, run RL, then evaluate every test cell."""
    session = Session(lab, task_of(lab, config))
    tests = session.task.test
    models = {"base": session.base, config.zone: trained(session, config)}
    lines: list[Mapping[str, Json]] = list(session.scores(models, config.draws))
    for operations in (1, 2, 3, 4):
        for context in ("C1", "C2"):
            chosen = [
                p for p in tests.problems if (p.cell["operations"], p.cell["context"]) == (operations, context)
            ]
            if chosen:
                part = subset(tests, chosen, f"{operations} {context}")
                found = session.scores(models, config.draws, problems=part)
                lines += [{**line, "operations": operations, "context": context} for line in found]
    return MethodResult(
        policies={"policy": models[config.zone].path, "base": session.base.path}, rows=tuple(lines)
    )


def brief(config: EdgeConfig) -> EdgeConfig:
    """The same settings with two steps of everything."""
    return replace(
        config, steps=2, rl=replace(config.rl, steps=2, prompts=2, draws=2, max_new_tokens=16), draws=1
    )


EXPERIMENT = Experiment(
    name="edge",
    summary="RL by zone of competence, after a chosen exposure of a context and a share of mid-training",
    source="Zhang, Neubig and Yue 2025, arXiv 2512.07783",
    cost="demo: a base of 1,200 steps and 30 RL steps; study: 5,000 and 300; real: a larger base",
    profiles={
        "demo": EdgeConfig(),
        "study": EdgeConfig(steps=5000, size=Size(), rl=replace(RUN, steps=300), draws=64),
        "real": EdgeConfig(steps=5000, size=Size(hidden=256, layers=6), rl=replace(RUN, steps=300), draws=64),
    },
    brief=brief,
    run=run,
)
