"""Make a model folder from a GGUF file, or from an installed package that carries one."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.cli.saved import say_next
from keyturn.core.rundir import SCHEMA


def run(
    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.gguf|PACKAGE")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
    json: bool = False,
) -> int:
    """Make a model folder (safetensors, tokenizer, chat template) from a GGUF file.

    Every tensor is compared with two dequantisations of its own, and the tokenizer with the file's vocabulary.

    Args:
        source: a .gguf file, or the name of an installed package that carries one, whole or in parts.
        out: the new folder.
        json: one JSON document on stdout.
    """
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
