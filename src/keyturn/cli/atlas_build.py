"""Build the atlas as a folder of pages."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

from keyturn.atlas.store import home
from keyturn.core.rundir import SCHEMA
from keyturn.site.site import build


def run(
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")] = Path("atlas-site"),
    json: bool = False,
) -> None:
    """Build the atlas as a folder of pages that reads from disk and from any host.

    Args:
        out: the folder; a second build into it writes only what changed.
        json: one JSON document on stdout instead of text.
    """
    built = build(home(), out)
    if json:
        document = {
            "schema": SCHEMA,
            "command": "atlas build",
            "index": str(built.index),
            "files": built.files,
            "written": list(built.written),
            "removed": list(built.removed),
        }
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{built.index}\n")
    gone = f", {len(built.removed)} removed" if built.removed else ""
    sys.stderr.write(f"{built.files} files, {len(built.written)} of them new or changed{gone}\n")
