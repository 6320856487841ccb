"""Pretraining on the native engine, on torch, and the arithmetic of both: tokens a core second, as ratios.

    python benchmarks/pretraining.py            measures, writes docs/results/pretraining.json and .md

Whole steps of ``fit`` as pretraining takes them (documents are made, read, differentiated; clipping; AdamW) on
the demo's recipe of two worlds, one thread, processor time, the sides in turns. The floor is 6 N a token, N the
entries of all matrices, at the rate of torch's products of these shapes (``arithmetic.py``).
"""

import json
import os
import pathlib
import platform
import statistics
import time
from dataclasses import replace

import arithmetic
import torch

from keyturn.core.streams import Streams
from keyturn.policies.fit import fit
from keyturn.policies.native.build import SWITCH
from keyturn.policies.which_engine import engine_of_model
from keyturn.pretraining.pretrain import fresh_model, rows_of
from keyturn.pretraining.recipes import PRETRAIN
from keyturn.problems.world.worlds import DOMAINS

RESULTS = pathlib.Path(__file__).parent.parent / "docs" / "results"
DOMAINS_MEASURED = ("chain", "graph")
STEPS, TURNS = 10, 7
SIDES = {"torch": "0", "native": ""}


def turn(world, recipe, side):
    """Processor seconds of one token of a fit of some steps."""
    os.environ[SWITCH] = SIDES[side]
    streams = Streams(0).child("pretrain")
    model = fresh_model(world, recipe, streams)
    if (engine_of_model(model) == "torch") != (side == "torch"):
        raise SystemExit(f"{side} does not run here")
    config = replace(recipe.schedule(world.domain), steps=STEPS)
    began = time.process_time()
    report = fit(model, lambda number: rows_of(world, config, streams, number), config, streams)
    return (time.process_time() - began) / report.tokens, report


def measured(name):
    """Ratios of one world."""
    world, recipe = DOMAINS[name](), PRETRAIN["demo"]
    model = fresh_model(world, recipe, Streams(0))
    for side in SIDES:
        turn(world, recipe, side)
    spent = {side: [] for side in SIDES}
    for _ in range(TURNS):
        for side in SIDES:
            seconds, report = turn(world, recipe, side)
            spent[side].append(seconds)
    rows = round(report.tokens / STEPS)
    products = arithmetic.products(arithmetic.matrices(model), rows, backward=True)
    floor = arithmetic.seconds_of(products, 2.0, clock=time.process_time) / rows
    middle = {side: statistics.median(times) for side, times in spent.items()}
    return {
        "world": name,
        "tokens a step": rows,
        "torch / native": round(middle["torch"] / middle["native"], 2),
        "torch / native, by turn": sorted(
            round(one / other, 2) for one, other in zip(spent["torch"], spent["native"], strict=True)
        ),
        "torch / floor": round(middle["torch"] / floor, 2),
        "native / floor": round(middle["native"] / floor, 2),
    }


def page(found):
    """The table."""
    lines = [
        "# Pretraining",
        "",
        "Written by `python benchmarks/pretraining.py`. Processor time of whole steps (making documents, loss",
        "and gradients, clipping, AdamW), one thread, the sides in turns, medians. The floor is 6 N a token at",
        "the rate of torch's own products of these shapes. The native engine's products can be faster than",
        "those, and its share of the floor below 1.",
        "",
        "| world | tokens a step | torch / native | range over turns | torch / floor | native / floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case in found["cases"]:
        ratios = case["torch / native, by turn"]
        lines.append(
            f"| {case['world']} | {case['tokens a step']} | {case['torch / native']} |"
            f" {ratios[0]} to {ratios[-1]} | {case['torch / floor']} | {case['native / floor']} |"
        )
    return "\n".join([*lines, "", f"{found['machine']}, torch {found['torch']}.", ""])


def main():
    torch.set_num_threads(1)
    found = {
        "machine": platform.machine(),
        "torch": torch.__version__,
        "threads": 1,
        "steps": STEPS,
        "turns": TURNS,
        "cases": [measured(name) for name in DOMAINS_MEASURED],
    }
    (RESULTS / "pretraining.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "pretraining.md").write_text(page(found))


if __name__ == "__main__":
    main()
