"""Shared parts of study plans: tasks on shipped bases, arms, sizes, and the numbers reported for a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.auditing.embedded import MODELS, world_in
from keyturn.core.statistics.pass_at_k import pass_at_k
from keyturn.experiments.plan import Arm, Evaluate, PlanSizes
from keyturn.lab.lab import Lab
from keyturn.lab.session import Model, Session
from keyturn.lab.task import Task, world_task
from keyturn.methods.contract import PRODUCT, Method
from keyturn.objectives.contract import Objective
from keyturn.policies.loading import load_policy
from keyturn.pretraining import stage as pretrain_stage
from keyturn.pretraining.recipes import PRETRAIN
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.worlds import world_named
from keyturn.rewards.contract import Reward
from keyturn.rewards.process import ProcessConfig, process
from keyturn.rollouts.grades import Answers
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.curves import cell_keys
from keyturn.training.loop import Hook
from keyturn.training.rollout import RolloutFunction

Start = Callable[[Session], Model]
"""``(session) -> the model that an arm starts from``."""

CHAIN_RL = RLConfig(steps=30, prompts=16, draws=8, max_new_tokens=15, batch_rows=128, kl_every=0)
"""A short run in CHAIN: about four seconds on one core."""
GRAPH_RL = RLConfig(steps=30, prompts=8, draws=8, max_new_tokens=48, batch_rows=64, kl_every=0)
"""A short run in GRAPH with one operation: about ten seconds on one core."""

SHORT = PlanSizes(seeds=3, lrs=(3e-4, 1e-3))
"""The profile of the committed results; with three seeds it gives a lead, not a finding."""
LONG = PlanSizes(seeds=8, lrs=(1e-4, 3e-4, 1e-3, 3e-3), draws=8)
"""The profile for an overnight run or a GPU."""


def sizes_for(profile: str, *, seeds: int = 0) -> PlanSizes:
    """The sizes of a profile; pass ``seeds`` if a study needs more than the usual number."""
    found = LONG if profile == "long" else SHORT
    return replace(found, seeds=max(seeds, found.seeds))


def steps_for(config: RLConfig, profile: str, times: int = 10) -> RLConfig:
    """The settings unchanged, or with ``times`` as many steps for the long profile."""
    return replace(config, steps=config.steps * times) if profile == "long" else config


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Which problems a study uses.

    Args:
        train: difficulty values (operations, depth) of the training problems.
        test: difficulty values of the validation and test problems.
        per_cell: training problems per cell.
        held_out: validation and test problems per cell, each.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    per_cell: int = 112
    held_out: int = 32


CHAIN_CELLS = Cells(train=(2, 3), test=(2, 3, 4, 5))
GRAPH_CELLS = Cells(train=(1,), test=(1, 2), per_cell=200, held_out=32)


def embedded_task(lab: Lab, base: str, cells: Cells | None = None) -> Task:
    """A task from a shipped base (``chain``, ``graph``) or from a model folder of such a world.

    Args:
        lab: its random streams determine the problems.
        base: name or folder.
        cells: which problems; by default the domain's usual ones.
    """
    folder = MODELS / base if (MODELS / base).is_dir() else Path(base)
    world = world_in(folder)
    key = "depth" if world.domain == "chain" else "operations"
    chosen = cells or (CHAIN_CELLS if world.domain == "chain" else GRAPH_CELLS)
    return world_task(
        load_policy(folder),
        str(folder),
        world,
        lab.streams,
        train=[{"domain": world.domain, key: n} for n in chosen.train],
        test=[{"domain": world.domain, key: n} for n in chosen.test],
        per_cell=chosen.per_cell,
        held_out=chosen.held_out,
    )


def rl_arm(
    name: str,
    *,
    objective: Objective,
    reward: Reward,
    config: RLConfig,
    says: str = "",
    start: Start | None = None,
    problems: ProblemSet | None = None,
    rollout: RolloutFunction | None = None,
    hooks: Callable[[], Sequence[Hook]] = tuple,
    roles: RoleSource | None = None,
    on: Task | None = None,
) -> Arm:
    """An arm that trains by RL, starting from the base (of the plan's task or of ``on``) or from ``start``."""

    def train(session: Session, lr: float) -> Model:
        return session.rl(
            session.base if start is None else start(session),
            objective=objective,
            reward=reward,
            config=replace(config, lr=lr),
            problems=problems,
            rollout=rollout,
            hooks=hooks,
            roles=roles,
            label=name,
        )

    return Arm(name=name, train=train, says=says, task=on)


def method_arm(
    name: str,
    method: Method,
    configured: Callable[[float], Any],
    *,
    says: str = "",
    tuned: bool = True,
    on: Task | None = None,
) -> Arm:
    """An arm that trains with a method.

    Args:
        name: the arm's name in tables.
        method: a key of ``METHODS``.
        configured: ``(learning rate) -> the method's config``; the rate is NaN if the arm is not tuned.
        says: a description, if the name is not enough.
        tuned: False for an arm without a learning rate of its own.
        on: a task with another base or other problems than the plan's.

    The arm's model is the method's product; other models it trained are in ``model.beside``, by slot.
    """

    def train(session: Session, lr: float) -> Model:
        policies = method.train(session, configured(lr))
        return replace(policies[PRODUCT], beside=policies)

    return Arm(name=name, train=train, says=says, tuned=tuned, task=on)


def experiment_arm(name: str, trained: Callable[[Session, Any], Model], config: Any, on: Task) -> Arm:
    """An arm that runs an experiment's training on one of its bases.

    Args:
        name: the arm's name in tables.
        trained: ``(session, config) -> the policy``.
        config: the experiment's settings; RL, and the fit if there is one, use the plan's learning rate.
        on: the base and its problems.
    """

    def train(session: Session, lr: float) -> Model:
        parts = {part: replace(getattr(config, part), lr=lr) for part in ("rl", "fit") if hasattr(config, part)}
        return trained(session, replace(config, **parts))

    return Arm(name=name, train=train, task=on)


def base_arm(name: str = "base", on: Task | None = None) -> Arm:
    """The untrained base, the reference for every other arm."""

    def train(session: Session, lr: float) -> Model:
        return session.base

    return Arm(name=name, train=train, says="nothing is trained", tuned=False, task=on)


def verified_only() -> Reward:
    """A reward for verified answers only: a right answer with an invalid trace gets nothing."""
    return process(ProcessConfig(strict=True))


def numbers_on_test(draws: int = 16, *, problems: ProblemSet | None = None) -> Evaluate:
    """The usual report: :func:`numbers_of` on the test problems, and the area under the training curve."""

    def evaluate(session: Session, model: Model) -> Mapping[str, float]:
        given = session.answers(model, problems or session.task.test, draws, name="test")
        return {**numbers_of(given), **curve(model)}

    return evaluate


def numbers_of(given: Answers) -> dict[str, float]:
    """Means over problems: success (also per cell), right answers, pass@k with k the number of draws, length,
    and the shares of strategies and formats."""
    n, c = given.counts()
    rate = given.rates()
    out = {
        "success": _mean(rate),
        "right": _mean(given.outcome),
        "length": _mean(given.length),
        "length wrong": _mean(given.length[given.outcome == 0]),
    }
    k = int(n.min()) if len(n) else 0
    if k > 1:
        out[f"pass@{k}"] = _mean(pass_at_k(n, c, k))
    for key in cell_keys(given.problems):
        own = np.array([str(problem.cell.get(key, "")) for problem in given.problems])
        out |= {f"success {key} {value}": _mean(rate[own == value]) for value in sorted(set(own) - {""})}
    for column in ("strategy", "format"):
        if column in given.columns:
            names, counts = np.unique(given.columns[column].astype(str), return_counts=True)
            out |= {f"{column} {a}": float(b / len(given)) for a, b in zip(names, counts, strict=True) if a}
    return out


def _mean(found: np.ndarray) -> float:
    known = np.asarray(found, dtype=np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


LAST = 5
"""The final entropy of a run is the mean over this many last steps."""


def curve(model: Model) -> dict[str, float]:
    """Summary of the training curve: mean over steps of verified (or right) answers (the area under the curve),
    and entropy in nats per token, over the last steps and over all. Empty for a model not trained by RL."""
    out = {}
    for name in ("verified", "outcome"):
        found = [row[name] for row in model.history if name in row]
        if found:
            out["auc"] = _mean(np.array(found))
            break
    for name, rows in (("entropy", model.history[-LAST:]), ("entropy over training", model.history)):
        found = [row["entropy/all"] for row in rows if "entropy/all" in row]
        if found:
            out[name] = _mean(np.array(found))
    return out


def pretrained(lab: Lab, name: str, recipe: str = "demo", *, seed: int = 0, **dials: object) -> Path:
    """A base pretrained on a world by a recipe, with some of the world's fields set; it is a stage.

    Args:
        lab: the run directory.
        name: of a world in ``WORLDS``.
        recipe: key of ``PRETRAIN``.
        seed: of the pretraining; another seed gives another base.
        dials: fields of the world, JSON-able.

    Returns:
        The model's folder.
    """
    return pretrain_stage.pretrained(lab, world_named(name), PRETRAIN[recipe], seed=seed, dials=dials)
