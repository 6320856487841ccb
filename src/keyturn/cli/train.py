"""Post-train a policy: a recipe, or RL with an objective and a reward, on a world's problems or on a file's."""

from __future__ import annotations

import functools
import json as jsonlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from keyturn.auditing.embedded import EMBEDDED
from keyturn.cli.listing import result_line
from keyturn.cli.options import after, positional, switches, typed
from keyturn.cli.saved import TRAINED, hold_to, saved, say_next, vacant
from keyturn.cli.train_task import Given, task_for
from keyturn.core.errors import KeyturnError, UsageError, unknown
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.experiments import EXPERIMENTS
from keyturn.lab.fit_rows import demonstration_completions, demonstrations
from keyturn.lab.lab import Lab
from keyturn.lab.session import Session
from keyturn.lab.task import Task
from keyturn.methods import METHODS
from keyturn.methods.contract import PROFILES
from keyturn.methods.sft_then_rl import LARGE_RL
from keyturn.objectives import OBJECTIVES
from keyturn.policies.offsets import Decodes, GramRoles
from keyturn.policies.protocol import Limits
from keyturn.rewards import REWARDS
from keyturn.rewards.by_name import default_config, reward_named
from keyturn.roles.grams import read_grams
from keyturn.training.collect import RoleSource
from keyturn.training.config import RLConfig
from keyturn.training.rl import train_rl
from keyturn.training.rollout import Beside, Sampled

DEMONSTRATIONS = 32
"""Worked solutions beside the draws of a step."""
Method = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="METHOD")]
Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What every method takes."""

    problems: Path | None = None
    """JSONL or Parquet with prompts and answers; a model of a world brings its own."""
    test: Path | None = None
    """Test problems of their own; a tenth of --problems by default."""
    grader: str = "auto"
    """How answers of a file are judged."""
    roles: Path | None = None
    """Strategic grams (`keyturn grams`) that say which tokens plan; a world's grammar by default."""
    teacher: str = ""
    """A second policy, where a method needs one: a model folder or a Hub id."""
    out: Path = Path("runs/train")
    """The run directory."""
    resume: bool = False
    """Go on with the run in --out; its settings must be the same."""
    seed: int = 0
    """Root of all randomness."""
    per_cell: int = 112
    """Training problems per cell, where a world makes them."""
    max_new_tokens: int = 0
    """Tokens an answer may have; 0 takes the run's own for a world, 1024 for a file."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    profile: str = "demo"
    """demo (three minutes of two cores), study (to its stopping rule) or real (some 1e9 parameters)."""
    dry_run: bool = False
    """Two small steps of everything, in OUT/dry-run: proves that it runs, teaches nothing."""
    json: bool = False
    """One JSON document on stdout."""


def runner(words: Sequence[str]) -> Callable[..., None]:
    """The function that a command line calls: its method decides which settings there are.

    Raises:
        UsageError: no method, or none of that name.
    """
    named_words = positional(words, every_switch())
    method, model = (*named_words, "", "")[:2]
    if not method and named_words:
        raise UsageError("the method's name is empty", fix="keyturn train METHOD MODEL")
    if not method:
        return no_method
    if method in EMBEDDED or ("/" in method and method not in METHODS):
        raise UsageError(
            f"the method comes first, then the model: {method!r} is a model", fix=f"keyturn train grpo {method}"
        )
    if method in EXPERIMENTS:
        what = f"{method} is an experiment: it pretrains bases of its own and trains no other model"
        raise UsageError(what, fix=f"keyturn experiment run {method}")
    if method not in METHODS and method not in OBJECTIVES:
        raise unknown("method", method, [*METHODS, *OBJECTIVES])
    profile = after(words, "--profile", "demo")
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    if method in METHODS:
        return typed(by_recipe, settings=METHODS[method].profiles[profile])
    reward = after(words, "--reward", "outcome")
    rl = _sizes(profile, model)
    settings, paid = OBJECTIVES[method]().config, default_config(reward.partition(":")[0])
    return typed(by_objective, settings=settings, paid=paid, rl=rl)


@functools.cache
def every_switch() -> frozenset[str]:
    """Switches of any method: a command line is read for its method before that method's own are known."""
    found = switches(no_method)
    for settings in chain.from_iterable(recipe.profiles.values() for recipe in METHODS.values()):
        found |= switches(typed(by_recipe, settings=settings))
    for make in OBJECTIVES.values():
        found |= switches(typed(by_objective, settings=make().config, paid=None))
    for reward in REWARDS:
        found |= switches(typed(by_objective, settings=None, paid=default_config(reward)))
    return found


def _sizes(profile: str, model: str) -> RLConfig:
    """Sizes and rates of RL where nothing is said: of a profile, for an embedded world or another model."""
    if profile == "real":
        return LARGE_RL
    rl = EMBEDDED[model].rl if model in EMBEDDED else RLConfig()
    return replace(rl, steps=rl.steps * 10) if profile == "study" else rl


def no_method(common: Annotated[Common, tyro.conf.arg(name="")] = Common()) -> None:
    """Post-train a policy: keyturn train METHOD MODEL. `keyturn train ls` lists the methods.

    Args:
        common: what every method takes.
    """
    raise UsageError("no method named", fix="keyturn train METHOD MODEL, e.g. keyturn train grpo chain")


def by_recipe(
    method: Method,
    model: Model = "",
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    settings: Any = None,
) -> None:
    """Post-train a policy by a recipe.

    Args:
        method: a recipe or an objective, as `keyturn train ls` lists them.
        model: an embedded world (graph, chain), a model folder or a Hub id.
        common: what every method takes.
        settings: of the recipe, for its profile.
    """
    recipe = METHODS[method]
    if common.roles is not None:
        raise UsageError(f"{method} reads no roles", fix="leave --roles out; objectives read them")
    if common.teacher and "teacher" not in recipe.needs | recipe.takes:
        raise UsageError(f"{method} has no teacher", fix="leave --teacher out")
    common = _placed(common)
    vacant(common.out, resume=common.resume)
    task = _task(method, model, common)
    recipe.check(task)
    config = recipe.brief(settings) if common.dry_run else settings
    begun = (common.out / TRAINED).exists()
    asked = {
        "method": method,
        "model": model,
        "seed": common.seed,
        "settings": config,
        "max_new_tokens": task.max_new_tokens,
        "policies": {"base": task.base, **task.others},
        "problems": {"train": task.train, "validation": task.validation, "test": task.test},
    }
    hold_to(common.out, TRAINED, asked, recipe.run)
    sys.stderr.write(f"{recipe.name}: {recipe.summary} ({recipe.source})\n")
    try:
        made = recipe.run(Session(Lab(common.out, Streams(common.seed)), task), config)
    except KeyturnError:
        if not begun and not (common.out / "stages").exists():
            (common.out / TRAINED).unlink()  # nothing was made: the directory is free for other settings
        raise
    policies = saved(common.out, made.policies)
    where = {slot: str(folder.resolve()) for slot, folder in policies.items()}
    if common.json:
        document = {"schema": SCHEMA, "command": "train", "method": method, "models": where, "rows": made.rows}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    for line in made.rows:
        sys.stdout.write(result_line(line) + "\n")
    for slot, folder in policies.items():
        sys.stdout.write(f"{slot}: {folder}\n")
    _hint(common, policies.get("base", model), policies["policy"])


def by_objective(
    method: Method,
    model: Model = "",
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    reward: str = "outcome",
    demonstrations_a_step: int = DEMONSTRATIONS,
    settings: Any = None,
    paid: Any = None,
    rl: RLConfig = RLConfig(),  # noqa: B008
) -> None:
    """Post-train a policy by RL with an objective.

    Args:
        method: a recipe or an objective, as `keyturn train ls` lists them.
        model: an embedded world (graph, chain), a model folder or a Hub id.
        common: what every method takes.
        reward: how verdicts become rewards; of one made of others: shuffled:process, sum:outcome+format.
        demonstrations_a_step: worked solutions beside the draws, where the objective learns from them.
        settings: of the objective.
        paid: of the reward.
        rl: sizes and rates.
    """
    objective = OBJECTIVES[method](settings) if settings is not None else OBJECTIVES[method]()
    rewarded = reward_named(reward, paid)
    if common.teacher:
        raise UsageError(f"{method} has no teacher", fix="leave --teacher out; recipes have one, e.g. distill")
    if demonstrations_a_step != DEMONSTRATIONS and "demonstration" not in objective.needs:
        raise UsageError(f"{method} reads no demonstrations", fix="leave --demonstrations-a-step out")
    common = _placed(common)
    vacant(common.out, resume=common.resume)
    task = _task(method, model, common)
    if rl.max_new_tokens == _sizes(common.profile, model).max_new_tokens or common.max_new_tokens:
        rl = replace(rl, max_new_tokens=_length(rl, common, task))
    if common.dry_run:
        rl = replace(rl, steps=2, prompts=min(rl.prompts, 2), draws=min(rl.draws, 2))
    streams = Streams(common.seed)
    rollout = None
    if "demonstration" in objective.needs:
        pairs = demonstrations(task, task.train.problems, streams.child("expert"))
        plain = Sampled(rl.draws, Limits(max_new_tokens=rl.max_new_tokens, batch_rows=rl.batch_rows))
        rollout = Beside(plain, demonstration_completions(task.base, pairs), demonstrations_a_step)
    if objective.no_op_when_single_update and rl.update.epochs * rl.update.minibatches == 1:
        sys.stderr.write(f"one update per rollout: {objective.no_op_when_single_update}\n")
    done = train_rl(
        task.base,
        task.train,
        reward=rewarded,
        objective=objective,
        config=rl,
        folder=common.out,
        streams=streams.child("rl"),
        rollout=rollout,
        roles=_roles(common, task),
        world=task.world,
        label=f"{method} {Path(model).name}",
    )
    if done is None:
        raise UsageError("the run stopped before its end", fix="--resume")
    last = dict(done.history[-1]) if done.history else {}
    rewards = [row.get("reward", math.nan) for row in done.history]
    if rewards and all(map(math.isnan, rewards)):
        sys.stderr.write(
            f"the reward {reward} was undefined for every draw: take another, a grader that judges these "
            "answers, or problems that hold what it reads (a label).\n"
        )
    elif done.history and not common.dry_run and not any(row.get("groups/mixed") for row in done.history):
        sys.stderr.write(
            f"nothing was learnt from rewards: in {len(done.history)} steps no group of draws had two "
            "different rewards. Ask easier problems, take more draws, or another reward.\n"
        )
    if common.json:
        models = {"policy": str(done.model.resolve())}
        document = {"schema": SCHEMA, "command": "train", "method": method, "models": models, "last": last}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"policy: {done.model}\n")
    sys.stderr.write(f"reward {last.get('reward', math.nan):.3f} after {len(done.history)} steps\n")
    _hint(common, model, done.model)


def _hint(common: Common, base: str | Path, policy: Path) -> None:
    """The command that says what the training did, on test problems where there are some."""
    given: list[str | Path] = []
    if common.problems is not None:
        given += ["--problems", common.test or common.problems]
    if common.grader != "auto":
        given += ["--grader", common.grader]
    if common.problems is not None and common.max_new_tokens:
        given += ["--max-new-tokens", str(common.max_new_tokens)]
    say_next("audit it", "audit", base, policy, *given)


def _placed(common: Common) -> Common:
    """A dry run has a directory of its own, so that it is not in the way of the run."""
    return replace(common, out=common.out / "dry-run") if common.dry_run else common


def _length(rl: RLConfig, common: Common, task: Task) -> int:
    """Tokens an answer may have in RL, where ``--rl`` does not say it: as asked for, else a file's usual limit
    or a world's shorter one."""
    if common.max_new_tokens or task.world is None or common.problems is not None:
        return task.max_new_tokens
    return min(rl.max_new_tokens, task.max_new_tokens)


def _task(method: str, model: str, common: Common) -> Task:
    if not model:
        raise UsageError("no model named", fix=f"keyturn train {method} MODEL, e.g. {' or '.join(EMBEDDED)}")
    return task_for(
        model,
        Given(
            problems=common.problems,
            test=common.test,
            grader=common.grader,
            per_cell=common.per_cell,
            max_new_tokens=common.max_new_tokens,
            device=common.device,
            others={"teacher": common.teacher} if common.teacher else {},
        ),
        Streams(common.seed),
    )


def _roles(common: Common, task: Task) -> RoleSource | None:
    """What says which tokens plan, where the user names grams."""
    if common.roles is None:
        return None
    # A tokenizer of transformers decodes one row or many, so its signature is wider than what is asked of it.
    return GramRoles(read_grams(common.roles), cast(Decodes, task.base.tokenizer))
