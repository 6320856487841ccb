"""Post-train a policy by RL on a world's problems, or on a file of problems."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.core.errors import UsageError, unknown
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.objectives import OBJECTIVES
from keyturn.policies.loading import load_policy, world_of
from keyturn.problems.contract import ProblemSet
from keyturn.problems.files import read_problems
from keyturn.problems.world.grader import WorldGrader
from keyturn.problems.world.worlds import problems as world_problems
from keyturn.rewards import REWARDS
from keyturn.studies.embedded import EMBEDDED, MODELS
from keyturn.training.config import RLConfig
from keyturn.training.record import CONFIG
from keyturn.training.rl import train_rl


def run(
    model: Annotated[str, tyro.conf.Positional] = "",
    problems: Path | None = None,
    objective: str = "grpo",
    reward: str = "outcome",
    grader: str = "auto",
    out: Path = Path("runs/train"),
    resume: bool = False,
    seed: int = 0,
    per_cell: int = 112,
    device: str = "auto",
    rl: RLConfig = RLConfig(),  # noqa: B008
    json: bool = False,
) -> None:
    """Post-train a policy by RL.

    Args:
        model: an embedded world (graph, chain), a model folder or a Hub id.
        problems: JSONL or Parquet with prompts and answers; a model of a world brings its own.
        objective: how rewards become credit and loss.
        reward: how verdicts become rewards.
        grader: how answers of a file are judged.
        out: the run directory.
        resume: go on with the run in --out; its settings must be the same.
        seed: root of all randomness.
        per_cell: problems a cell, where a world makes them.
        device: auto, cpu, cuda, cuda:1.
        rl: sizes and rates.
        json: one JSON document on stdout.
    """
    if not model:
        raise UsageError("no model named", fix=f"keyturn train MODEL, e.g. {' or '.join(EMBEDDED)}")
    for kind, name, known in (("objective", objective, OBJECTIVES), ("reward", reward, REWARDS)):
        if name not in known:
            raise unknown(kind, name, known)
    if (out / CONFIG).exists() and not resume:
        raise UsageError(f"{out} holds a run already", fix="--resume to go on with it, or another --out")
    folder = str(MODELS / model) if model in EMBEDDED else model
    world = world_of(folder) if Path(folder).is_dir() else None
    if problems is not None:
        asked = read_problems(problems, grader=grader)
    elif world is not None:
        made = world_problems(world, "rl", None, per_cell, Streams(seed).child("problems"))
        asked = ProblemSet(name=world.name, problems=made, grader=WorldGrader(world))
    else:
        raise UsageError(f"{model} is no model of a world, so problems must be named", fix="--problems FILE")
    done = train_rl(
        load_policy(folder, device=device),
        asked,
        reward=REWARDS[reward](),
        objective=OBJECTIVES[objective](),
        config=rl,
        folder=out,
        streams=Streams(seed).child("rl"),
        world=world,
        label=f"RL {Path(model).name}",
    )
    if done is None:
        raise UsageError("the run stopped before its end", fix="--resume")
    last = done.history[-1] if done.history else {}
    if json:
        where = str(done.model.resolve())
        document = {"schema": SCHEMA, "command": "train", "model": where, "last": dict(last)}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{done.model}\n")
    sys.stderr.write(f"reward {last.get('reward', float('nan')):.3f} after {len(done.history)} steps\n")
    sys.stderr.write(f"audit it: keyturn audit {folder} {done.model}\n")
