"""What an RL run writes about itself: its settings, where it ran, and what happened in every step."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

import keyturn
from keyturn.core.errors import StorageError, UsageError
from keyturn.core.identity import Differences, Identity, differences
from keyturn.core.jsonl import read_jsonl
from keyturn.core.lazy import torch, transformers
from keyturn.core.measurement import from_json_number
from keyturn.core.rundir import read_json, storage_errors, write_bytes, write_json
from keyturn.core.streams import Streams
from keyturn.objectives.contract import Objective
from keyturn.policies.protocol import Policy
from keyturn.policies.which_engine import engine_of, why_not_native
from keyturn.problems.contract import ProblemSet
from keyturn.rewards.contract import Reward
from keyturn.training.config import RLConfig
from keyturn.training.loop import Hook

CONFIG, ENVIRONMENT = "config.json", "environment.json"
METRICS, TIMES = "metrics.jsonl", "times.jsonl"
CHECKPOINTS, ROLLOUTS, BAD, MODEL = "checkpoints", "rollouts", "bad", "model"

_FREE = ("checkpoint_every", "keep_checkpoints", "term_norms_every")
"""Settings that may differ between an interruption and its resumption: they change no result."""

_log = logging.getLogger("keyturn")


def statement(
    policy: Policy,
    problems: ProblemSet,
    reward: Reward,
    objective: Objective,
    config: RLConfig,
    streams: Streams,
    *,
    rollout: object = None,
    hooks: Sequence[Hook] = (),
    roles: object = None,
    policies: Mapping[str, Policy] | None = None,
) -> dict[str, Any]:
    """Everything that decides a run's result, without paths or clocks, for an :class:`Identity`."""
    settings = {name: value for name, value in asdict(config).items() if name not in _FREE}
    return {
        "policy": policy,
        "engine": engine_of(policy),
        "policies": dict(policies or {}),
        "problems": problems,
        "reward": reward,
        "objective": objective,
        "rollout": rollout,
        "roles": roles,
        "hooks": list(hooks),
        "streams": streams,
        **settings,
    }


def check_same_run(folder: Path, stated: Identity, config: RLConfig, policy: Policy) -> None:
    """Write down what a run of a policy is, or check that it is still the same.

    Raises:
        UsageError: the folder holds a run of other settings or by other code; the message names what differs.
    """
    path = folder / CONFIG
    if path.exists():
        _refuse_another(folder, differences(read_json(path), stated))
    else:
        write_json(path, {**stated.document(), "overridden": overridden(config)})
    here = {**environment(), "not native": why_not_native(policy)}
    if not (folder / ENVIRONMENT).exists():
        write_json(folder / ENVIRONMENT, here)
        return
    before = {name: value for name, value in read_json(folder / ENVIRONMENT).items() if name != "schema"}
    moved = [name for name in here if before.get(name) != here[name]]
    if moved:
        _log.warning(
            "resumed elsewhere (%s differs): equal to a straight run only in distribution", ", ".join(moved)
        )


def _refuse_another(folder: Path, found: Differences) -> None:
    """Refuse to go on with what is not the same run."""
    if found.none:
        return
    if found.earlier:
        what, fix = "of an earlier keyturn, which did not record its code", "another directory"
    elif found.settings:
        what, fix = (
            f"of other settings ({found.settings_in_words})",
            "use the same settings, or another directory",
        )
    else:
        try:
            version = read_json(folder / ENVIRONMENT).get("keyturn", "")
        except StorageError:
            version = ""
        what = f"by another version of the code (changed: {found.code_in_words})"
        fix = f"another directory, or finish it with the code that began it (keyturn {version})"
    raise UsageError(f"{folder} holds a run {what}", fix=fix)


def overridden(config: Any, prefix: str = "") -> dict[str, list[Any]]:
    """Fields of a config that are not their defaults: name -> [default, value]."""
    default = type(config)()
    out: dict[str, list[Any]] = {}
    for item in fields(config):
        value, usual = getattr(config, item.name), getattr(default, item.name)
        if is_dataclass(value) and type(value) is type(usual):
            out |= overridden(value, f"{prefix}{item.name}.")
        elif value != usual:
            out[prefix + item.name] = [usual, value]
    return out


def environment() -> dict[str, Any]:
    """What the last bits of results depend on: versions, processor and threads; no names of people or
    places."""
    return {
        "keyturn": keyturn.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def history(folder: Path) -> tuple[dict[str, float], ...]:
    """The metrics of a run, one mapping per step, oldest first."""
    return tuple(
        {name: from_json_number(value) for name, value in row.items()} for row in read_jsonl(folder / METRICS)
    )


def seconds(folder: Path) -> dict[str, float]:
    """Wall seconds of a run by phase, interruptions left out."""
    out: dict[str, float] = {}
    for row in read_jsonl(folder / TIMES):
        for phase, value in row.items():
            if phase != "step":
                out[phase] = out.get(phase, 0.0) + from_json_number(value)
    return out


def drop_later(folder: Path, step: int) -> None:
    """Remove what was written for ``step`` and later steps, because they will be run again."""
    times = read_jsonl(folder / TIMES)
    kept = [row for row in times if from_json_number(row["step"]) < step]
    if len(kept) < len(times):
        lines = "".join(f"{_line(row)}\n" for row in kept)
        write_bytes(folder / TIMES, lines.encode())
    for part in sorted((folder / ROLLOUTS).glob("*.parquet")):
        number = re.match(r"(?:completions|grades)-(\d+)\.", part.name)
        if number and int(number[1]) >= step:
            with storage_errors(part):
                part.unlink()
    for batch in sorted((folder / BAD).glob("step-*.safetensors")):
        if int(batch.stem.split("-")[1]) >= step:
            with storage_errors(batch):
                batch.unlink()


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False)
