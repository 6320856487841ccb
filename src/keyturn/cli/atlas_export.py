"""Write the atlas for other tools: BibTeX, a vault of linked Markdown notes, or an SQLite file."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keyturn.atlas.collection import load_atlas
from keyturn.atlas.exports.bibtex import bibtex
from keyturn.atlas.exports.tables import write_tables
from keyturn.atlas.exports.vault import vault
from keyturn.atlas.known import load_known
from keyturn.atlas.store import home
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA, storage_errors


def run(
    kind: Annotated[Literal["bibtex", "obsidian", "sqlite"], tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    json: bool = False,
) -> None:
    """Write the atlas with its states of today; the shipped collection and your own.

    Args:
        kind: bibtex (the papers that are cited), obsidian (a folder of notes and questions), sqlite (tables).
        out: the new file, or the new folder of a vault.
        json: one JSON document on stdout.
    """
    if kind == "obsidian" and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there and not empty", fix="a new folder, or an empty one")
    if kind != "obsidian" and out.is_dir():
        raise UsageError(f"{out} is a folder", fix=f"a file, such as {out / 'atlas'}.{kind[:6]}")
    atlas = load_atlas(home())
    if kind == "sqlite":
        write_tables(atlas, load_known(home()), out)
        files = 1
    else:
        texts = {"": bibtex(atlas)} if kind == "bibtex" else vault(atlas, load_known(home()))
        with storage_errors(out):
            for name, text in texts.items():
                path = out / name if name else out
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        files = len(texts)
    if json:
        document = {"schema": SCHEMA, "command": "atlas export", "out": str(out), "files": files}
        sys.stdout.write(jsonlib.dumps(document) + "\n")
        return
    sys.stdout.write(f"{out}: {files} file{'' if files == 1 else 's'}\n")
