"""Where the policies of a run are stored, whatever made them, and the record of what a run directory is for.

The policy that a run was made for is ``OUT/model``. Other policies that it made, such as a base of its own, are
``OUT/model-NAME``. A run directory can be named wherever a model can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from keyturn.core.errors import UsageError
from keyturn.core.identity import Identity, differences
from keyturn.core.rundir import read_json, write_json
from keyturn.policies.model_folder import holds_weights, same_folder
from keyturn.training.record import CONFIG, MODEL

TRAINED, EXPERIMENTED, ELICITED = "train.json", "experiment.json", "elicit.json"
FRONTIER = "frontier.json"
"""Files that say what made a run directory: a method, an experiment, an elicitation method, or a frontier."""


def vacant(out: Path, *, resume: bool = True) -> None:
    """Refuse a run directory that is itself a model (its name would mean two policies) or holds another run.

    Args:
        out: the run directory.
        resume: whether a run in it is to be resumed.

    Raises:
        UsageError: it contains weights, or a run that the user did not ask to resume.
    """
    if holds_weights(out):
        raise UsageError(
            f"{out} is a model folder", fix=f"another --out: the model is saved in its folder {MODEL!r}"
        )
    if not resume and any(
        (out / record).exists() for record in (TRAINED, EXPERIMENTED, ELICITED, FRONTIER, CONFIG)
    ):
        raise UsageError(f"{out} holds a run already", fix="--resume to go on with it, or another --out")


def hold_to(out: Path, record: str, asked: Mapping[str, object], *code: object) -> None:
    """Record what a run directory is a run of, or check that the record is the same as before.

    The check compares what was requested. If only the code has changed, the run continues: its stages record
    their code, and the stages that the change affects are made again.

    Args:
        out: the run directory.
        record: :data:`TRAINED`, :data:`EXPERIMENTED`, :data:`ELICITED` or :data:`FRONTIER`.
        asked: name -> setting, of a kind that can be described.
        code: the code that does the work.

    Raises:
        UsageError: the directory holds a run of other settings, of another kind or of an earlier keyturn.
    """
    if not _finite(asked.get("settings")):
        raise UsageError("a setting is not a number (nan) or not finite", fix="give it a value")
    path, now = out / record, Identity.of(asked, *code)
    if path.exists():
        found = differences(read_json(path), now)
        if found.earlier:
            raise UsageError(f"{out} holds a run of an earlier keyturn", fix="another --out")
        if found.settings:
            what = f"{out} holds a run of other settings ({found.settings_in_words})"
            raise UsageError(what, fix="the same again, or another --out")
    else:
        kinds = {
            TRAINED: "a method",
            EXPERIMENTED: "an experiment",
            ELICITED: "an elicitation method",
            FRONTIER: "a frontier",
            CONFIG: "an objective",
        }
        for other, kind in kinds.items():
            if (out / other).exists():
                raise UsageError(f"{out} holds a run of {kind}", fix="another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, now.document())


def _finite(value: object) -> bool:
    """Whether every number in the settings is finite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if is_dataclass(value) and not isinstance(value, type):
        return all(_finite(getattr(value, one.name)) for one in fields(value))
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def saved(out: Path, policies: Mapping[str, Path]) -> dict[str, Path]:
    """Put every policy that a run made in the place where it is looked for.

    Args:
        out: the run directory.
        policies: slot -> model folder; ``policy`` is the product.

    Returns:
        Slot -> the folder where it is now.
    """
    return {
        slot: same_folder(folder, out / (MODEL if slot == "policy" else f"{MODEL}-{slot}"))
        for slot, folder in policies.items()
    }
