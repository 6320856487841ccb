"""RL: draw, grade, reward, credit, update; again. Resumable at every checkpoint, to the byte on a CPU.

One step: ``prompts`` problems are drawn ``draws`` times each, graded, rewarded; rows without a reward leave
their group; the objective turns rewards into credit on the whole batch; ``epochs * minibatches`` updates
follow (one by default). Randomness is named by step, so a step is a function of the state before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keyturn.core.errors import InputError, NewerError, StorageError, UsageError
from keyturn.core.identity import Identity
from keyturn.core.lazy import torch
from keyturn.core.rundir import damaged, is_done, reopen, run_lock, set_aside
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective
from keyturn.policies.local import LocalPolicy
from keyturn.policies.model_folder import check_folder
from keyturn.policies.protocol import Limits, Policy
from keyturn.problems.contract import ProblemSet
from keyturn.problems.world.worlds import World
from keyturn.rewards.contract import Reward
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook, Loop
from keyturn.training.progress import live
from keyturn.training.record import MODEL, check_same_run, history, seconds, statement
from keyturn.training.rollout import RolloutFunction, Sampled
from keyturn.training.run import Run

_log = logging.getLogger("keyturn")


@dataclass(frozen=True, kw_only=True, eq=False)
class FinishedRun:
    """A finished run.

    Args:
        folder: the run directory.
        model: the tuned model's folder.
        policy: the tuned policy; None where the run was found finished (load it from ``model``).
        history: one mapping per step, oldest first.
        seconds: wall seconds by phase: ``sample``, ``grade``, ``update``, ``save``.
    """

    folder: Path
    model: Path
    policy: LocalPolicy | None
    history: tuple[Mapping[str, float], ...]
    seconds: Mapping[str, float]


def train_rl(
    policy: LocalPolicy,
    problems: ProblemSet,
    *,
    reward: Reward,
    objective: Objective,
    config: RLConfig,
    folder: Path,
    streams: Streams,
    rollout: RolloutFunction | None = None,
    hooks: Sequence[Hook] = (),
    roles: RoleSource | None = None,
    policies: Mapping[str, Policy] | None = None,
    world: World | None = None,
    card: Mapping[str, Any] | None = None,
    label: str = "rl",
    stop_after: int | None = None,
) -> FinishedRun | None:
    """Train a copy of a policy; a finished run is read from its folder, a half-done one goes on.

    Args:
        policy: what the run begins with; it is left as it is. Plain temperature sampling only.
        problems: asked in turn, a new permutation every epoch.
        reward: graded completions -> one number each.
        objective: rewards -> credit -> loss.
        config: sizes and rates.
        folder: the run directory, held by this process while it runs.
        streams: all randomness of the run.
        rollout: how problems are answered; plain draws by default.
        hooks: look at the run between steps and change it.
        roles: says what tokens do (strategic grams...); the problems' grader by default.
        policies: further policies by slot, for the rollout function.
        world: written into the tuned model's folder.
        card: written into the tuned model's folder, the run's own facts added.
        label: name in the progress line.
        stop_after: leave after this many steps in all, with a checkpoint (None is returned).

    Raises:
        UsageError: settings that exclude each other, or a run of other settings in the folder.
        NumericsError: three updates in a row were not finite.
        StorageError: disk full, damaged files.
    """
    check(policy, problems, config)
    draw = rollout or Sampled(
        config.draws, Limits(max_new_tokens=config.max_new_tokens, batch_rows=config.batch_rows)
    )
    asked = statement(
        policy,
        problems,
        reward,
        objective,
        config,
        streams,
        rollout=draw,
        hooks=hooks,
        roles=roles,
        policies=policies,
    )
    stated = Identity.of(asked, train_rl)
    if objective.no_op_when_single_update and config.update.epochs * config.update.minibatches == 1:
        _log.info("one update per rollout: %s", objective.no_op_when_single_update)
    with run_lock(folder):
        check_same_run(folder, stated, config, policy)
        if is_done(folder) and not _reopened(folder):
            return _finished(folder, None)
        loop = Loop(policy, partial(_adamw, config), hooks=hooks, others=policies)
        loop.folder, loop.world = folder, world
        run = Run(loop, problems, reward, objective, config, folder, streams, draw, stated.id, roles)
        run.resume()
        last = config.steps if stop_after is None else min(stop_after, config.steps)
        with live(label, config.steps, history(folder)) as show:
            while loop.step < last and not loop.stopped:
                show(run.step())
        if loop.step < config.steps and not loop.stopped:
            run.save()
            return None
        run.finish(world, card)
        return _finished(folder, loop.policy)


def check(policy: LocalPolicy, problems: ProblemSet, config: RLConfig) -> None:
    """Refuse what could not work before anything is written."""
    sampling = policy.sampling
    if sampling.greedy or sampling.top_p < 1 or sampling.top_k or policy.processors:
        raise UsageError(
            "RL needs a policy that draws from its own distribution: no truncation, no logit processors",
            fix="load it with Sampling(temperature=1.0)",
        )
    narrow = {p.dtype for p in policy.model.parameters()} - {torch.float32, torch.float64}
    if narrow:
        raise UsageError(f"updates would be lost in {narrow.pop()}", fix="load the policy with dtype float32")
    if not 1 <= config.prompts <= len(problems.problems):
        raise UsageError(
            f"{config.prompts} problems per step, but there are only {len(problems.problems)}",
            fix="lower the number of problems per step, or give more problems",
        )
    for name in (
        "steps",
        "draws",
        "max_new_tokens",
        "rounds",
        "batch_rows",
        "checkpoint_every",
        "keep_checkpoints",
    ):
        if getattr(config, name) < 1:
            raise UsageError(f"{name} is {getattr(config, name)}", fix="take at least 1")
    if config.update.epochs < 1 or not 1 <= config.update.minibatches <= config.prompts:
        raise UsageError(
            f"{config.update.epochs} epochs of {config.update.minibatches} mini-batches",
            fix="at least 1 of each, and no more mini-batches than prompts",
        )
    if not (np.isfinite(config.lr) and config.lr >= 0):
        raise UsageError(f"lr is {config.lr}", fix="take a number of 0 or more")


def _reopened(folder: Path) -> bool:
    """Whether a finished run is damaged; then it goes on from its last whole checkpoint."""
    what = ", ".join(damaged(folder))
    try:
        check_folder(folder / MODEL)
    except NewerError:
        raise
    except (StorageError, InputError) as damage:
        what = damage.what
        set_aside(folder / MODEL, folder / "damaged")
    if what:
        _log.warning("a finished run is damaged and ends anew from its last checkpoint: %s", what)
        reopen(folder, folder / "damaged")
    return bool(what)


def _finished(folder: Path, policy: LocalPolicy | None) -> FinishedRun:
    return FinishedRun(
        folder=folder,
        model=folder / MODEL,
        policy=policy,
        history=history(folder),
        seconds=seconds(folder),
    )


def _adamw(config: RLConfig, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
