"""Run an experiment: pretrain bases for a question, train them, and report the result."""

from __future__ import annotations

import functools
import json as jsonlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from keyturn.cli.listing import result_line
from keyturn.cli.options import after, positional, switches, typed
from keyturn.cli.saved import say_next
from keyturn.core.errors import KeyturnError, UsageError, unknown
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.experiments import EXPERIMENTS
from keyturn.experiments.contract import Experiment
from keyturn.front.run_folder import EXPERIMENTED, hold_to, saved, vacant
from keyturn.lab.lab import Lab
from keyturn.methods import METHODS
from keyturn.methods.contract import PROFILES
from keyturn.objectives import OBJECTIVES


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options that every experiment takes."""

    out: Path | None = None
    """The run directory; runs/experiments/NAME by default."""
    resume: bool = False
    """Resume the run in --out; its settings must be the same."""
    seed: int = 0
    """Root of all randomness."""
    profile: str = "demo"
    """demo (minutes on two cores), study (to its stopping rule) or real (larger bases)."""
    dry_run: bool = False
    """Two small steps of everything, in OUT/dry-run: checks that the run works, but trains nothing useful."""
    json: bool = False
    """One JSON document on stdout."""


def runner(words: Sequence[str]) -> Callable[..., None]:
    """The function that a command line calls. Its experiment decides which settings exist.

    Raises:
        UsageError: no experiment was given, there is none of that name, or a model was given too.
    """
    name, *rest = positional(words, _every_switch()) or [""]
    if not name:
        return no_experiment
    one = experiment_named(name)
    if rest:
        what = f"{name} pretrains bases of its own and takes no model: {rest[0]!r} would be ignored"
        raise UsageError(what, fix=f"keyturn experiment run {name}")
    profile = after(words, "--profile", "demo")
    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    return typed(by_experiment, settings=one.profiles[profile])


def experiment_named(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        UsageError: there is none. The error says how to run a method of that name, or gives near matches.
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    if name in METHODS or name in OBJECTIVES:
        raise UsageError(f"{name} is a method and trains your model", fix=f"keyturn train {name} MODEL")
    raise unknown("experiment", name, EXPERIMENTS)


@functools.cache
def _every_switch() -> frozenset[str]:
    found = switches(no_experiment)
    for one in EXPERIMENTS.values():
        found |= switches(typed(by_experiment, settings=one.profiles["demo"]))
    return found


def no_experiment(common: Annotated[Common, tyro.conf.arg(name="")] = Common()) -> None:
    """Run an experiment: keyturn experiment run NAME. `keyturn experiment ls` lists them.

    Args:
        common: options that every experiment takes.
    """
    raise UsageError("no experiment named", fix=f"keyturn experiment run NAME: {', '.join(EXPERIMENTS)}")


def by_experiment(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    common: Annotated[Common, tyro.conf.arg(name="")] = Common(),
    settings: Annotated[Any, tyro.conf.arg(name="")] = None,
) -> None:
    """Pretrain bases for a question, train them, and report the result.

    Args:
        name: an experiment, as `keyturn experiment ls` lists them.
        common: options that every experiment takes.
        settings: settings of the experiment, for its profile.
    """
    one = EXPERIMENTS[name]
    out = common.out or Path("runs") / "experiments" / name
    config = settings
    if common.dry_run:
        out, config = out / "dry-run", one.brief(settings)
    vacant(out, resume=common.resume)
    begun = (out / EXPERIMENTED).exists()
    hold_to(out, EXPERIMENTED, {"experiment": name, "seed": common.seed, "settings": config}, one.run)
    sys.stderr.write(f"{name}: {one.summary} ({one.source})\n")
    try:
        result = one.run(Lab(out, Streams(common.seed)), config)
    except KeyturnError:
        if not begun and not (out / "stages").exists():
            (out / EXPERIMENTED).unlink()  # nothing was made, so other settings may use the directory
        raise
    policies = saved(out, result.policies)
    if common.json:
        models = {slot: str(folder.resolve()) for slot, folder in policies.items()}
        document = {"schema": SCHEMA, "command": "experiment run", "experiment": name}
        sys.stdout.write(jsonlib.dumps({**document, "models": models, "rows": result.rows}) + "\n")
        return
    for line in result.rows:
        sys.stdout.write(result_line(line) + "\n")
    for slot, folder in policies.items():
        sys.stdout.write(f"{slot}: {folder}\n")
    say_next("audit it", "audit", policies["base"], policies["policy"])
