"""Make a model folder from a GGUF file, from an installed package that carries one, or from an adapter."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.cli.saved import say_next
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA
from keyturn.core.weight_files import is_adapter


def run(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.gguf|PACKAGE|ADAPTER")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    base: str = "",
    json: bool = False,
) -> int:
    """Make a model folder (safetensors, tokenizer, chat template) from a GGUF file or a PEFT adapter.

    Of a GGUF file every tensor is compared with two dequantisations of its own, and the tokenizer with the
    file's vocabulary. An adapter is merged into its base; LoRA is merged a second time in float64 to compare,
    and log-probabilities are held against the base with the adapter on.

    Args:
        source: a .gguf file, the name of an installed package that carries one, whole or in parts, or a folder
            with an adapter.
        out: the new folder.
        base: the model that an adapter was trained on; by default the one that it names.
        json: one JSON document on stdout.
    """
    if is_adapter(source):
        return _merge(source, out, base, json)
    if base:
        raise UsageError(f"{source} is no adapter, and only adapters have a base", fix="leave --base out")
    return _convert(source, out, json)


def _merge(source: str, out: Path, base: str, json: bool) -> int:
    from keyturn.policies.adapters import import_adapter

    made = import_adapter(source, out, base=base)
    if json:
        document = {
            "schema": SCHEMA,
            "command": "model import",
            "folder": str(made.folder),
            "adapter": made.kind,
            "base": made.base,
            "parameters": made.parameters,
            "compared": made.compared,
            "largest_difference": made.largest if made.compared else None,
            "nats_apart": made.apart,
            "nats_moved": made.moved,
            "notes": list(made.notes),
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return 0
    sys.stdout.write(
        f"{made.folder}: {made.base} with {source} ({made.kind}), {made.parameters:,} parameters\n"
    )
    if made.compared:
        sys.stdout.write(f"{made.compared} tensors compared, largest difference {made.largest:.2g}\n")
    sys.stdout.write(
        f"log-probabilities lie within {made.apart:.2g} nats of the base with the adapter on, which moves them "
        f"by up to {made.moved:.2g}\n"
    )
    for note in made.notes:
        sys.stdout.write(f"{note}\n")
    say_next("look at it", "model", "show", made.folder)
    return 0


def _convert(source: str, out: Path, json: bool) -> int:
    from keyturn.policies.gguf.importing import import_gguf

    made = import_gguf(source, out)
    if json:
        document = {
            "schema": SCHEMA,
            "command": "model import",
            "folder": str(made.folder),
            "architecture": made.architecture,
            "parameters": made.parameters,
            "compared": made.compared,
            "largest_difference": made.largest,
            "tensors": dict(made.kinds),
            "notes": list(made.notes),
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return 0
    kinds = ", ".join(f"{count} {kind}" for kind, count in made.kinds.items())
    sys.stdout.write(
        f"{made.folder}: {made.architecture}, {made.parameters:,} parameters from {kinds} tensors\n"
    )
    sys.stdout.write(f"{made.compared} tensors compared, largest difference {made.largest:.2g}\n")
    for note in made.notes:
        sys.stdout.write(f"{note}\n")
    say_next("look at it", "model", "show", made.folder)
    return 0
