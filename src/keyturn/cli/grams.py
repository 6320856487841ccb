"""Mine strategic grams from the successful draws of a sample file, and save them to a file."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from keyturn.core.errors import InputError
from keyturn.core.rundir import SCHEMA
from keyturn.core.streams import Streams
from keyturn.core.text import visible
from keyturn.roles.encoders import sentence_encoder
from keyturn.roles.grams import write_grams
from keyturn.roles.strategic_grams import MiningConfig, mine
from keyturn.rollouts.readers import Columns, read_samples


def run(
    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    out: Path = Path("grams.json"),
    config: MiningConfig = MiningConfig(),  # noqa: B008
    columns: Columns = Columns(),  # noqa: B008
    encoder: str = "",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Mine strategic grams from the successful draws of a sample file.

    Args:
        file: graded samples, .jsonl, .json or .parquet; FILE#MODEL selects one of several policies.
        out: file to which the grams are saved.
        config: settings of the mining.
        columns: names of the file's columns, if keyturn does not know them.
        encoder: a sentence-transformers model; if empty, TF-IDF and LSA, which need no download.
        seed: root of all randomness.
        json: one JSON document on stdout instead of text.
    """
    samples = read_samples(file, columns)
    rows = np.flatnonzero((samples.success == 1) & samples.answered).tolist()
    if not rows:
        raise InputError(
            f"none of the {len(samples)} draws in {file} is successful and has a completion"
            f" ({samples.ungraded} are ungraded)",
            fix="give graded samples with successes, or name the column of verdicts with --columns.success",
        )
    grams = mine(
        [samples.texts[row] for row in rows],
        streams=Streams(seed).child("grams"),
        encoder=sentence_encoder(encoder) if encoder else None,
        problems=[samples.problem[row] for row in rows],
        config=config,
    )
    write_grams(out, grams)
    if json:
        document = {
            "command": "grams",
            "out": str(out),
            "identity": grams.identity,
            "counts": dict(grams.counts),
        }
        sys.stdout.write(jsonlib.dumps({"schema": SCHEMA, **document}) + "\n")
        return
    lines = [f"{len(grams)} grams, {grams.identity}, in {out}"]
    lines += [f"  {name:<22}{count}" for name, count in grams.counts.items()]
    common = sorted(grams.entries, key=lambda gram: -gram.documents)[:10]
    lines += ["in most problems:", *(f"  {gram.documents:>6}  {gram.text}" for gram in common)]
    sys.stdout.write("\n".join(visible(line) for line in lines) + "\n")
