"""Post-train a policy by a method of several stages, or by RL with an objective and a reward.

The problems are those of a world or of a file.
"""

from __future__ import annotations

import functools
import json as jsonlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from keyturn.auditing.embedded import EMBEDDED
from keyturn.cli.listing import result_line
from keyturn.cli.options import Method, Model, after, positional, switches, typed, unescaped
from keyturn.cli.saved import say_next
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA
from keyturn.front.method_of import method_of, objective_of, recipe_settings, sizes
from keyturn.front.run_folder import vacant
from keyturn.front.trained import Training
from keyturn.front.training import DEMONSTRATIONS, train
from keyturn.methods import METHODS
from keyturn.methods.contract import Method as TrainingMethod
from keyturn.objectives import OBJECTIVES
from keyturn.rewards import REWARDS
from keyturn.rewards.by_name import default_config, reward_named
from keyturn.training.config import RLConfig


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every method takes."""

    problems: Path | None = None
    """JSONL or Parquet with prompts and answers; a model of a world brings its own."""
    test: Path | None = None
    """Separate test problems; a tenth of --problems by default."""
    grader: str = "auto"
    """How answers to problems from a file are graded."""
    examples: Path | None = None
    """A file of problems with worked solutions that stand in front of every problem."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """chat: apply the tokenizer's chat template; auto: where it has one."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, e.g. Question: behind worked examples; \\n is a line break."""
    roles: Path | None = None
    """Strategic grams (`keyturn grams`) that say which tokens plan; a world's grammar by default."""
    teacher: str = ""
    """A second policy, if a method needs one: a model folder or a Hub id."""
    out: Path = Path("runs/train")
    """The run directory."""
    resume: bool = False
    """Resume the run in --out; its settings must be the same."""
    seed: int = 0
    """Root of all randomness."""
    per_cell: int = 112
    """Training problems per cell, if a world makes them."""
    max_new_tokens: int = 0
    """Maximum number of tokens in an answer; 0 takes the run's own for a world, 1024 for a file."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    profile: str = "demo"
    """demo (three minutes on two cores), study (to its stopping rule) or real (about 1e9 parameters)."""
    dry_run: bool = False
    """Two small steps of everything, in OUT/dry-run: checks that the run works, but trains nothing useful."""
    json: bool = False
    """One JSON document on stdout."""


def runner(words: Sequence[str]) -> Callable[..., None]:
    """The function that a command line calls. Its method decides which settings exist.

    Raises:
        UsageError: no method was given, or there is none of that name.
    """
    named_words = positional(words, every_switch())
    method, model = (*named_words, "", "")[:2]
    if not method and named_words:
        raise UsageError("the method's name is empty", fix="keyturn train METHOD MODEL")
    if not method:
        return no_method
    chosen, profile = method_of(method), after(words, "--profile", "demo")
    if isinstance(chosen, TrainingMethod):
        return typed(by_recipe, settings=recipe_settings(chosen, None, profile))
    reward = after(words, "--reward", "outcome")
    rl = sizes(profile, model)
    settings, paid = objective_of(chosen, None).config, default_config(reward.partition(":")[0])
    return typed(by_objective, settings=settings, paid=paid, rl=rl)


@functools.cache
def every_switch() -> frozenset[str]:
    """The switches of all methods, needed to find the method on a command line before its own are known."""
    found = switches(no_method)
    for settings in chain.from_iterable(recipe.profiles.values() for recipe in METHODS.values()):
        found |= switches(typed(by_recipe, settings=settings))
    for make in OBJECTIVES.values():
        found |= switches(typed(by_objective, settings=make().config, paid=None))
    for reward in REWARDS:
        found |= switches(typed(by_objective, settings=None, paid=default_config(reward)))
    return found


def no_method(common: Annotated[Common, tyro.conf.arg(name="")] = Common()) -> None:
    """Post-train a policy: keyturn train METHOD MODEL. `keyturn train ls` lists the methods.

    Args:
        common: options that every method takes.
    """
    raise UsageError("no method named", fix="keyturn train METHOD MODEL, e.g. keyturn train grpo chain")


def by_recipe(
    method: Method,
    model: Model = "",
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    settings: Annotated[Any, tyro.conf.arg(name="")] = None,
) -> None:
    """Post-train a policy by a method of several stages.

    Args:
        method: a method or an objective, as `keyturn train ls` lists them.
        model: an embedded world (graph, chain), a model folder or a Hub id.
        common: options that every method takes.
        settings: settings of the method, for its profile.
    """
    _check(method, model, common)
    recipe = METHODS[method]
    sys.stderr.write(f"{recipe.name}: {recipe.summary} ({recipe.source})\n")
    done = train(method, model, settings=settings, **_shared(common))
    _say_notes(done)
    if common.json:
        _document(done, {"rows": done.rows})
        return
    for line in done.rows:
        sys.stdout.write(result_line(line) + "\n")
    for slot, folder in done.policies.items():
        sys.stdout.write(f"{slot}: {folder}\n")
    _hint(common, done.policies.get("base", model), done.policies["policy"])


def by_objective(
    method: Method,
    model: Model = "",
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    reward: str = "outcome",
    demonstrations_a_step: int = DEMONSTRATIONS,
    settings: Annotated[Any, tyro.conf.arg(name="")] = None,
    paid: Annotated[Any, tyro.conf.arg(name="reward")] = None,
    rl: RLConfig = RLConfig(),  # noqa: B008
) -> None:
    """Post-train a policy by RL with an objective.

    Args:
        method: a method or an objective, as `keyturn train ls` lists them.
        model: an embedded world (graph, chain), a model folder or a Hub id.
        common: options that every method takes.
        reward: how verdicts become rewards; a reward made of others is written shuffled:process,
            sum:outcome+format.
        demonstrations_a_step: worked solutions beside the draws of a step, if the objective learns from them.
        settings: settings of the objective.
        paid: settings of the reward.
        rl: sizes and rates of RL.
    """
    _check(method, model, common)
    objective = OBJECTIVES[method](settings) if settings is not None else OBJECTIVES[method]()
    if objective.no_op_when_single_update and rl.update.epochs * rl.update.minibatches == 1:
        sys.stderr.write(f"one update per rollout: {objective.no_op_when_single_update}\n")
    done = train(
        objective,
        model,
        reward=reward_named(reward, paid),
        rl=rl,
        demonstrations_a_step=demonstrations_a_step,
        **_shared(common),
    )
    _say_notes(done)
    last = dict(done.history[-1]) if done.history else {}
    if common.json:
        _document(done, {"last": last})
        return
    sys.stdout.write(f"policy: {done.policies['policy']}\n")
    sys.stderr.write(f"reward {last.get('reward', math.nan):.3f} after {len(done.history)} steps\n")
    _hint(common, model, done.policies["policy"])


def _check(method: str, model: str, common: Common) -> None:
    """Refuse a missing model, and an existing run unless it is to be resumed."""
    out = common.out / "dry-run" if common.dry_run else common.out
    vacant(out, resume=common.resume)
    if not model:
        raise UsageError("no model named", fix=f"keyturn train {method} MODEL, e.g. {' or '.join(EMBEDDED)}")


def _shared(common: Common) -> dict[str, Any]:
    """The options that every method takes, as arguments of :func:`keyturn.train`."""
    command = ("resume", "json")
    said = {field.name: getattr(common, field.name) for field in fields(common) if field.name not in command}
    return said | {"teacher": common.teacher or None, "stop": unescaped(common.stop)}


def _say_notes(done: Training) -> None:
    for note in done.notes:
        sys.stderr.write(f"{note}\n")


def _document(done: Training, found: Mapping[str, Any]) -> None:
    models = {slot: str(folder.resolve()) for slot, folder in done.policies.items()}
    document = {"schema": SCHEMA, "command": "train", "method": done.method, "models": models, **found}
    sys.stdout.write(jsonlib.dumps(document) + "\n")


def _hint(common: Common, base: str | Path, policy: Path) -> None:
    """Print the command that audits what the training changed, on test problems if there are any."""
    given: list[str | Path] = []
    if common.problems is not None:
        given += ["--problems", common.test or common.problems]
    if common.grader != "auto":
        given += ["--grader", common.grader]
    if common.examples is not None:
        given += ["--examples", common.examples]
    if common.template != "auto":
        given += ["--template", common.template]
    if common.stop:
        given += ["--stop", *common.stop]
    if common.problems is not None and common.max_new_tokens:
        given += ["--max-new-tokens", str(common.max_new_tokens)]
    say_next("audit it", "audit", base, policy, *given)
