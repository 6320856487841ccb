"""``keyturn.train``: post-trains a policy by a method of several stages or by RL with an objective."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from keyturn.core.describe import describe
from keyturn.core.errors import KeyturnError, UsageError
from keyturn.core.identity import identity
from keyturn.core.jsonl import read_jsonl
from keyturn.core.streams import Streams
from keyturn.front.method_of import method_of, objective_of, recipe_settings, settled, sizes
from keyturn.front.missing_answers import missing_answers
from keyturn.front.options import spelled
from keyturn.front.run_folder import TRAINED, hold_to, saved, vacant
from keyturn.front.trained import Training
from keyturn.front.training_task import Given, called, task_for
from keyturn.lab.fit_rows import demonstration_completions, demonstrations
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.methods.contract import Method
from keyturn.objectives.contract import Objective
from keyturn.policies.loading import save_policy
from keyturn.policies.offsets import Decodes, GramRoles
from keyturn.policies.protocol import Limits
from keyturn.policies.stop_texts import checked
from keyturn.rewards.by_name import reward_named
from keyturn.rewards.contract import Reward
from keyturn.roles.grams import read_grams
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.record import METRICS
from keyturn.training.rl import FinishedRun, train_rl
from keyturn.training.rollout import Beside, RolloutFunction, Sampled

_log = logging.getLogger("keyturn")

BASE = "base"
"""Folder in a run for a base that was given in memory. A method of several stages reads the base from it."""
DEMONSTRATIONS = 32
"""Worked solutions beside the draws of a step."""


def train(
    method: str | Method | Objective | Callable[..., Objective],
    model: Any,
    problems: Any = None,
    *,
    reward: str | Reward = "outcome",
    settings: Any = None,
    rl: RLConfig | Mapping[str, Any] | None = None,
    demonstrations_a_step: int = DEMONSTRATIONS,
    roles: str | Path | RoleSource | None = None,
    teacher: Any = None,
    test: Any = None,
    grader: str = "auto",
    examples: Any = None,
    template: str = "auto",
    stop: Sequence[str] = (),
    profile: str = "demo",
    per_cell: int = Given.per_cell,
    max_new_tokens: int = 0,
    device: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    dry_run: bool = False,
) -> Training:
    """Post-train a policy.

    Args:
        method: an objective (RL with that objective) or a method of several stages, by its name (``keyturn
            train ls``) or as an object.
        model: the model to train: an embedded base, a model folder, ``owner/name`` on the Hub, ``(model,
            tokenizer)`` of transformers, or a policy. A copy is trained; an object is left unchanged.
        problems: a file, a data frame, a list of ``{prompt, answer}``, a data set. A model of a controlled
            world brings its own.
        reward: how verdicts become rewards, if the method is an objective: a name, or a Reward.
        settings: settings of the method: its config, or a dict of the fields that differ from its profile's.
        rl: sizes and rates of RL, if the method is an objective: an RLConfig, or a dict of its fields.
        demonstrations_a_step: worked solutions beside the draws of a step, if the objective learns from them.
        roles: a file of strategic grams (`keyturn grams`) that says which tokens plan, or a function of
            completions; a world's grammar by default.
        teacher: a second model, if the method needs one.
        test: separate test problems; a tenth of the problems by default.
        grader: how answers are graded; ``auto``: by the layout of the problems.
        examples: problems with worked solutions that stand in front of every problem.
        template: ``chat``: apply the tokenizer's chat template; ``plain``: do not; ``auto``: apply it if there
            is one.
        stop: texts that end an answer where they are first complete, such as ``["Question:"]``.
        profile: ``demo`` (three minutes on two cores), ``study`` or ``real`` (about 1e9 parameters).
        per_cell: training problems per cell, if a world makes them.
        max_new_tokens: maximum number of tokens in an answer; 0 takes the run's own for a world, 1024 for a
            file.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, for models that are loaded by name.
        seed: root of all randomness.
        out: run directory. A finished run is read from it and an unfinished one is resumed. None: a separate
            folder under ``runs``, which the same call finds again.
        dry_run: two small steps of everything, in the folder ``dry-run`` of the run directory.

    Returns:
        The policies with their folder and history; ``.policy`` is the one that was trained.

    Raises:
        KeyturnError: training is not possible. The message is one sentence with its fix.
    """
    return _trained(dict(locals()))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """What every method receives: a model, problems, a run directory and a seed."""

    model: Any
    given: Given
    out: Path | None
    seed: int
    dry_run: bool

    def placed(self, name: str, task: Task, decides: Mapping[str, object]) -> Path:
        """The run directory. If none was named, its name depends on everything that decides the result."""
        if self.out is not None:
            return self.out
        problems = {"train": task.train, "validation": task.validation, "test": task.test}
        whole = {"model": task.base, "problems": problems, "seed": self.seed, **decides}
        key = identity({part: describe(value, part) for part, value in whole.items()}, length=8)
        return _dry(Path("runs") / f"{name}-{key}", self.dry_run)


def _dry(out: Path, dry_run: bool) -> Path:
    """The directory of a dry run. It is separate, so that it does not get in the way of the real run."""
    return out / "dry-run" if dry_run else out


def _trained(said: Mapping[str, Any]) -> Training:
    """Run :func:`train` on its arguments, given as a mapping."""
    method, teacher = method_of(said["method"]), said["teacher"]
    shared = ("problems", "test", "grader", "examples", "template", "per_cell", "max_new_tokens", "device")
    others = {} if teacher is None else {"teacher": teacher}
    out = None if said["out"] is None else _dry(Path(said["out"]).expanduser(), said["dry_run"])
    run = _Run(
        model=said["model"],
        given=Given(**{name: said[name] for name in shared}, others=others, stop=checked(said["stop"])),
        out=out,
        seed=said["seed"],
        dry_run=said["dry_run"],
    )
    if isinstance(method, Method):
        _refuse_idle(method, said)
        settings = recipe_settings(method, said["settings"], said["profile"])
        return _by_recipe(method, run, settings)
    objective = objective_of(method, said["settings"])
    if teacher is not None:
        raise UsageError(
            f"{objective.name} has no teacher",
            fix="leave --teacher out, or name a method that has one, e.g. distill",
        )
    demonstrations_a_step = said["demonstrations_a_step"]
    if demonstrations_a_step != DEMONSTRATIONS and "demonstration" not in objective.needs:
        raise UsageError(f"{objective.name} uses no demonstrations", fix="leave --demonstrations-a-step out")
    usual = sizes(said["profile"], said["model"])
    reward = reward_named(said["reward"]) if isinstance(said["reward"], str) else said["reward"]
    rl = settled(usual, said["rl"], "RL")
    if out is not None:
        vacant(out)
    task = task_for(run.model, run.given, Streams(run.seed))
    if rl.max_new_tokens == usual.max_new_tokens or run.given.max_new_tokens:
        rl = replace(rl, max_new_tokens=_length(rl, run.given, task))
    if run.dry_run:
        rl = replace(rl, steps=2, prompts=min(rl.prompts, 2), draws=min(rl.draws, 2))
    notes = _notes_before(task, reward)
    return _by_objective(run, task, objective, reward, rl, said["roles"], demonstrations_a_step, notes)


def _refuse_idle(recipe: Method, said: Mapping[str, Any]) -> None:
    """Refuse options that a method of several stages does not read."""
    unread = {"reward": "outcome", "rl": None, "demonstrations_a_step": DEMONSTRATIONS}
    for name, usual in unread.items():
        if said[name] is not usual and said[name] != usual:
            raise UsageError(
                f"{spelled(name)} would do nothing: {recipe.name} is a method and sets this itself",
                fix="leave it out, or name an objective, e.g. grpo",
            )
    if said["roles"] is not None:
        raise UsageError(f"{recipe.name} uses no roles", fix="leave --roles out; only objectives use them")
    if said["teacher"] is not None and "teacher" not in recipe.needs | recipe.takes:
        raise UsageError(f"{recipe.name} has no teacher", fix="leave --teacher out")


def _by_recipe(recipe: Method, run: _Run, settings: Any) -> Training:
    """Train by a method of several stages. A finished stage is not repeated."""
    if run.out is not None:
        vacant(run.out)
    task = task_for(run.model, run.given, Streams(run.seed))
    recipe.check(task)
    notes = _notes_before(task, None)
    config = recipe.brief(settings) if run.dry_run else settings
    out = run.placed(recipe.name, task, {"settings": config, "max_new_tokens": task.max_new_tokens})
    begun = (out / TRAINED).exists()
    asked = {
        "method": recipe.name,
        "model": called(run.model),
        "seed": run.seed,
        "settings": config,
        "max_new_tokens": task.max_new_tokens,
        "policies": {"base": task.base, **task.others},
        "problems": {"train": task.train, "validation": task.validation, "test": task.test},
    }
    hold_to(out, TRAINED, asked, recipe.run)
    if not task.folder:
        # A method of several stages reads its base from a folder, as it reads the models that it made.
        if not (out / BASE).exists():
            save_policy(out / BASE, task.base.model, task.base.tokenizer, task.world)
        task = replace(task, folder=str(out / BASE))
    try:
        made = recipe.run(Session(Lab(out, Streams(run.seed)), task), config)
    except KeyturnError:
        if not begun and not (out / "stages").exists():
            (out / TRAINED).unlink()  # nothing was made: the directory is free for other settings
        raise
    metrics = made.policies["policy"].parent / METRICS
    return Training(
        method=recipe.name,
        folder=out,
        policies=saved(out, made.policies),
        history=tuple(read_jsonl(metrics)) if metrics.exists() else (),  # type: ignore[arg-type]
        rows=tuple(made.rows),
        notes=notes,
        device=task.device,
    )


def _by_objective(
    run: _Run,
    task: Task,
    objective: Objective,
    reward: Reward,
    rl: RLConfig,
    roles: str | Path | RoleSource | None,
    demonstrations_a_step: int,
    notes: tuple[str, ...],
) -> Training:
    """RL with an objective."""
    streams = Streams(run.seed)
    rollout: RolloutFunction | None = None
    if "demonstration" in objective.needs:
        pairs = demonstrations(task, task.train.problems, streams.child("expert"))
        plain = Sampled(rl.draws, Limits(max_new_tokens=rl.max_new_tokens, batch_rows=rl.batch_rows))
        rollout = Beside(plain, demonstration_completions(task.base, pairs), demonstrations_a_step)
    decides = {"rl": rl, "objective": objective, "reward": reward, "demonstrations": demonstrations_a_step}
    out = run.placed(objective.name, task, decides)
    done = train_rl(
        task.base,
        task.train,
        reward=reward,
        objective=objective,
        config=rl,
        folder=out,
        streams=streams.child("rl"),
        rollout=rollout,
        roles=_roles(roles, task),
        world=task.world,
        label=f"{objective.name} {Path(task.folder).name or 'model'}",
    )
    if done is None:
        raise UsageError("the run stopped before its last step", fix="--resume")
    return Training(
        method=objective.name,
        folder=out,
        policies={"policy": done.model},
        history=done.history,
        notes=(*notes, *_notes(done, reward, run.dry_run)),
        device=task.device,
    )


def _notes_before(task: Task, reward: Reward | None) -> tuple[str, ...]:
    """What is known of the problems before anything is drawn; it is said at once, and again with the result.

    Raises:
        UsageError: nothing can be learnt from them.
    """
    lacking = missing_answers(task, reward)
    for line in lacking:
        _log.warning("%s", line)
    return (*dict.fromkeys((*task.train.notes, *task.test.notes)), *lacking)


def _notes(done: FinishedRun, reward: Reward, dry_run: bool) -> tuple[str, ...]:
    """What a reader of the curve must know: rewards that were always undefined, or never differed."""
    rewards = [row.get("reward", math.nan) for row in done.history]
    if rewards and all(map(math.isnan, rewards)):
        return (
            f"the reward {reward.name} was undefined for every draw: take another, a grader that judges these "
            "answers, or problems that hold what it reads (a label).",
        )
    if done.history and not dry_run and not any(row.get("groups/mixed") for row in done.history):
        return (
            f"nothing was learnt from rewards: in {len(done.history)} steps no group of draws had two "
            "different rewards. Ask easier problems, take more draws, or another reward.",
        )
    return ()


def _length(rl: RLConfig, given: Given, task: Task) -> int:
    """Maximum number of tokens in an answer in RL, if ``rl`` does not set it.

    This is the number that was requested, or else the usual limit for a file or the shorter one of a world.
    """
    if given.max_new_tokens or task.world is None or given.problems is not None:
        return task.max_new_tokens
    return min(rl.max_new_tokens, task.max_new_tokens)


def _roles(roles: str | Path | RoleSource | None, task: Task) -> RoleSource | None:
    """The source of planning tokens, if the user names a file of grams."""
    if roles is None or callable(roles):
        return roles
    # A tokenizer of transformers decodes one row or many, so its signature is wider than the one needed here.
    return GramRoles(read_grams(Path(roles)), cast(Decodes, task.base.tokenizer))
