"""Write the atlas for other tools: BibTeX, a vault of linked Markdown notes, SQLite, JSON, or JSON-LD."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro

from keyturn.atlas import CLAIMS
from keyturn.atlas.collection import Atlas, load_atlas
from keyturn.atlas.exports.bibtex import bibtex
from keyturn.atlas.exports.document import document
from keyturn.atlas.exports.tables import write_tables
from keyturn.atlas.exports.vault import vault
from keyturn.atlas.known import Known, load_known
from keyturn.atlas.linked import linked_claims
from keyturn.atlas.store import home
from keyturn.core.errors import UsageError
from keyturn.core.rundir import SCHEMA, storage_errors


def run(
    kind: Annotated[Literal["bibtex", "obsidian", "sqlite", "json", "jsonld"], tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    json: bool = False,
) -> None:
    """Write the atlas with its states of today; the shipped collection and your own.

    Args:
        kind: bibtex (the papers that are cited), obsidian (a folder of notes and questions), sqlite (tables),
            json (everything), jsonld (claims with their verdicts and records, in schema.org's words).
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
        texts = _texts(kind, atlas, load_known(home()))
        with storage_errors(out):
            for name, text in texts.items():
                path = out / name if name else out
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        files = len(texts)
    if json:
        said = {"schema": SCHEMA, "command": "atlas export", "out": str(out), "files": files}
        sys.stdout.write(jsonlib.dumps(said) + "\n")
        return
    sys.stdout.write(f"{out}: {files} file{'' if files == 1 else 's'}\n")


def _texts(kind: str, atlas: Atlas, known: Known) -> Mapping[str, str]:
    """Path below the output -> text; "" for a kind that is one file."""
    if kind == "obsidian":
        return vault(atlas, known)
    if kind == "bibtex":
        return {"": bibtex(atlas)}
    found = document(atlas, known) if kind == "json" else linked_claims(CLAIMS, known)
    return {"": jsonlib.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n"}
