"""Pretrain a base model on a controlled world: model folder, card, accuracy by role, measured zones."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from keyturn.core.errors import UsageError, unknown


def run(
    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[WORLD]")] = "chain",
    recipe: str = "demo",
    out: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    dials: tuple[str, ...] = (),
    threads: int = 1,
    overwrite: bool = False,
    json: bool = False,
) -> int:
    """Pretrain a base model.

    Args:
        world: name of the world, e.g. chain or graph.
        recipe: demo (the shipped bases), study, or a recipe that changes one setting: even, stock, brief,
            small.
        out: run directory; the model is in its folder model. runs/pretrain/WORLD-RECIPE-SEED by default.
        seed: root of all randomness.
        steps: number of steps, instead of the recipe's.
        dials: fields of the world to set, as FIELD=JSON, e.g. linked=0.3.
        threads: threads of torch. At this size a second one gains nothing, and it changes the last bits.
        overwrite: replace an existing model folder.
        json: print the card as one JSON document instead of tables.
    """
    from keyturn.cli.saved import say_next
    from keyturn.core.lazy import torch
    from keyturn.front.run_folder import vacant
    from keyturn.pretraining.pretrain import pretrain, with_dials
    from keyturn.pretraining.recipes import PRETRAIN
    from keyturn.problems.world.worlds import world_named
    from keyturn.training.record import MODEL

    for name, number in (("steps", steps), ("threads", threads)):
        if number is not None and number < 1:
            raise UsageError(f"--{name} is {number}", fix="at least 1, or leave it out")
    if recipe not in PRETRAIN:
        raise unknown("recipe", recipe, PRETRAIN)
    chosen = with_dials(world_named(world), dict(_dial(text) for text in dials))
    folder = out or Path("runs") / "pretrain" / "-".join([world, recipe, *map(_plain, dials), str(seed)])
    vacant(folder)
    torch.set_num_threads(threads)
    place = folder / MODEL
    made = pretrain(chosen, PRETRAIN[recipe], seed=seed, out=place, steps=steps, overwrite=overwrite)
    if json:
        print(
            jsonlib.dumps({"command": "world pretrain", "model": str(place.resolve()), **made.card}, indent=1)
        )
        return 0
    _show(made.card)
    print(f"policy: {place}")
    say_next("train it", "train", "grpo", place)
    return 0


def _dial(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"a dial is FIELD=VALUE, not {text!r}", fix="e.g. --dials linked=0.3")
    try:
        return name, jsonlib.loads(value)
    except ValueError:
        return name, value


def _plain(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "=._" else "_" for letter in text)


def _show(card: Mapping[str, Any]) -> None:
    console = Console(width=110)
    console.print(
        f"{card['name']}: {card['parameters']:,} parameters, {card['tokens']:,} tokens in {card['steps']} steps"
        f", {card['seconds']:.0f} s",
        highlight=False,
    )
    console.print(_accuracy(card["accuracy_by_role"]))
    console.print(_zones(card["zones"]))


def _accuracy(looks: list[Mapping[str, Any]]) -> Table:
    names = [name for name in looks[-1] if name not in ("step", "tokens")]
    table = Table(title="teacher-forced accuracy by role", title_justify="left")
    for name in ("step", "tokens", *names):
        table.add_column(name, justify="right")
    for look in looks:
        shares = [f"{look[name]:.2f}" if name in look else "" for name in names]
        table.add_row(f"{look['step']}", f"{look['tokens']:,}", *shares)
    return table


def _zones(zones: list[Mapping[str, Any]]) -> Table:
    k = zones[0]["k"]
    table = Table(title="zones: verified, sampled at temperature 1", title_justify="left")
    for name in ("cell", "problems", "pass@1", f"pass@{k}", "answer alone @1", "zone"):
        table.add_column(name, justify="left" if name in ("cell", "zone") else "right")
    for zone in zones:
        cell = ", ".join(f"{key} {value}" for key, value in zone["cell"].items())
        figures = (zone["pass_at_1"], zone["pass_at_k"], zone["answer_at_1"])
        shown = ["" if figure is None else f"{figure:.3f}" for figure in figures]
        table.add_row(cell, f"{zone['problems']}", *shown, zone["zone"])
    return table
