"""Where the policies of a run stand, the same for every verb, and the command that goes on with them.

The policy that a run was made for is ``OUT/model``; others that it made, such as a base of its own, are
``OUT/model-NAME``. A run directory may be named wherever a model may.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from keyturn.core.errors import UsageError
from keyturn.policies.model_folder import holds_weights, same_folder
from keyturn.training.record import CONFIG, MODEL

TRAINED, EXPERIMENTED = "train.json", "experiment.json"
"""What a run directory says that it is a run of: a method, an experiment."""


def vacant(out: Path, *, resume: bool = True) -> None:
    """Refuse a run directory that is itself a model (its name would mean two policies) or holds another run.

    Args:
        out: the run directory.
        resume: whether a run in it is to go on.

    Raises:
        UsageError: there are weights in it, or a run that nobody asked to go on.
    """
    if holds_weights(out):
        raise UsageError(
            f"{out} is a model folder", fix=f"another --out: the model is saved in its folder {MODEL!r}"
        )
    if not resume and any((out / record).exists() for record in (TRAINED, EXPERIMENTED, CONFIG)):
        raise UsageError(f"{out} holds a run already", fix="--resume to go on with it, or another --out")


def saved(out: Path, policies: Mapping[str, Path]) -> dict[str, Path]:
    """Let every policy that a run made stand where it is looked for.

    Args:
        out: the run directory.
        policies: slot -> model folder; ``policy`` is the product.

    Returns:
        Slot -> where it stands now.
    """
    return {
        slot: same_folder(folder, out / (MODEL if slot == "policy" else f"{MODEL}-{slot}"))
        for slot, folder in policies.items()
    }


def say_next(what: str, *words: str | Path) -> None:
    """The next command on stderr, to be pasted."""
    sys.stderr.write(f"{what}: {shlex.join(['keyturn', *map(str, words)])}\n")
