"""A base as a stage: pretrained once for a world, a size and a schedule, and a task in its world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from keyturn.core.streams import Streams
from keyturn.lab.lab import Lab
from keyturn.lab.task import Task, world_task
from keyturn.policies.loading import load_policy
from keyturn.policies.model_folder import check_folder
from keyturn.policies.optimise import FitConfig
from keyturn.policies.which_engine import engine_of_model
from keyturn.pretraining.pretrain import fresh_model, pretrain, with_dials
from keyturn.pretraining.recipes import PRETRAIN, PretrainRecipe, Probe, Size
from keyturn.problems.world.worlds import World
from keyturn.training.record import MODEL

QUICK = Probe(documents=64, every=0, problems=8, draws=8)
"""The probe for a base that is one of many."""


def quick(world: World, *, steps: int, size: Size | None = None, batch_rows: int = 32) -> PretrainRecipe:
    """A short pretraining for one arm of many: the demo's schedule in ``steps`` steps, few looks.

    Args:
        world: whose domain's schedule.
        steps: optimiser steps.
        size: of the model; the demo's by default.
        batch_rows: documents per step.
    """
    demo = PRETRAIN["demo"]
    fit: FitConfig = replace(demo.schedule(world.domain), steps=steps, batch_rows=batch_rows)
    return replace(demo, name=f"quick {steps}", fit={world.domain: fit}, size=size or demo.size, probe=QUICK)


def pretrained(
    lab: Lab, world: World, recipe: PretrainRecipe, *, seed: int = 0, dials: Mapping[str, object] | None = None
) -> Path:
    """The folder of a base of a world, pretrained once.

    Args:
        lab: the run directory.
        world: what its text is about.
        recipe: size, schedule and measurements.
        seed: another seed gives another base.
        dials: fields of the world that are set, JSON-able.
    """
    own = with_dials(world, dials or {})
    fields = {
        "engine": engine_of_model(fresh_model(own, recipe, Streams(seed))),
        "world": own,
        "fit": recipe.schedule(own.domain),
        "size": recipe.size,
        "dials": recipe.dials,
        "probe": recipe.probe,
        "name": recipe.name,
        "seed": seed,
    }

    def work(folder: Path) -> None:
        pretrain(own, recipe, seed=seed, out=folder / MODEL, overwrite=True)

    stage, _ = lab.stage(
        "pretrain", fields, work, lambda f: check_folder(f / MODEL), label=f"pretrain {own.name}"
    )
    return stage.folder / MODEL


def task_in(
    lab: Lab,
    folder: Path,
    world: World,
    *,
    train: Sequence[Mapping[str, str | int]] | None = None,
    test: Sequence[Mapping[str, str | int]] | None = None,
    per_cell: int = 112,
    held_out: int = 24,
) -> Task:
    """A pretrained base as a task of its world.

    Args:
        lab: whose streams decide the problems.
        folder: the base.
        world: of the problems; another than the base's makes a new domain for it.
        train: cells to learn from; the world's own by default.
        test: cells of validation and test.
        per_cell: training problems per cell.
        held_out: validation and test problems per cell, each.
    """
    return world_task(
        load_policy(folder),
        str(folder),
        world,
        lab.streams,
        train=train,
        test=test,
        per_cell=per_cell,
        held_out=held_out,
    )
