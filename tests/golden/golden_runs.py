"""The runs whose results are kept, and all that this folder calls of keyturn: command lines, nothing else.

``python golden_runs.py`` makes them in a temporary folder and prints them as JSON. It is a process of its own,
so that the number of threads is decided before torch is imported.
"""

import contextlib
import hashlib
import io
import json
import pathlib
import platform
import sys
import tempfile

import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy
import torch

from keyturn.cli.main import main

SIZES = "--rl.steps 3 --rl.prompts 4 --rl.draws 8 --rl.kl-every 1 --rl.store-rollouts --per-cell 8"
TRAIN = {
    # Two updates a rollout: the ratio leaves 1 and the clip range has something to do.
    "grpo": f"grpo graph {SIZES} --rl.update.minibatches 2",
    "rloo": f"rloo chain {SIZES}",
    # More credit on planning tokens.
    "hicra": f"hicra graph {SIZES}",
    "rejection": "rejection graph --dry-run --per-cell 4",
    "sft-then-rl": "sft-then-rl graph --dry-run --per-cell 4",
}
TUNED = "rloo"
"""The run whose policy is audited against its base."""


def environment():
    """What last bits depend on. Where it is equal, digests must be equal."""
    cpu = {}
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            cpu.setdefault(name.strip(), value.strip())
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": [cpu.get(name, "") for name in ("vendor_id", "cpu family", "model")],
        "threads": torch.get_num_threads(),
    }


def called(line):
    """What a command prints as JSON."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*line, "--json"])
    if code:
        raise SystemExit(f"keyturn {' '.join(line)}: exit code {code}")
    return json.loads(printed.getvalue())


def trained(line, out):
    """One training: what it says, its metrics, and digests of what was drawn and of the final weights."""
    said = called(["train", *line.split(), "--device", "cpu", "--out", str(out)])
    metrics = [json.loads(row) for path in sorted(out.rglob("metrics.jsonl")) for row in path.open()]
    return {
        "rows": said.get("rows", []),
        "steps": metrics,
        "drawn": sorted(
            drawn(path) for path in out.rglob("completions-*.parquet") if "prompts" not in path.name
        ),
        "weights": weights(pathlib.Path(said["models"]["policy"]) / "model.safetensors"),
    }


def drawn(path):
    """A digest of the tokens of one stored part, row by row."""
    rows = pq.read_table(path, columns=["tokens"]).column("tokens").to_pylist()
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def weights(path):
    """A digest of a model's weights by name, whatever else the file holds."""
    digest = hashlib.sha256()
    for name, values in sorted(safetensors.numpy.load_file(path).items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()[:16]


def audited(line, out):
    """One audit: labels, masses, intervals, every measurement; no path, clock or fingerprint."""
    (said,) = called(["audit", *line, "--out", str(out)])["audits"]
    kept = ("name", "value", "low", "high")
    return {
        "verdict": said["verdict"],
        "cells": said["cells"],
        "measurements": [{key: row.get(key) for key in kept} for row in said["measurements"]],
        "drawn": sorted(
            drawn(path) for path in out.rglob("completions-*.parquet") if "prompts" not in path.name
        ),
    }


def sample_files(folder):
    """Two files of graded samples: problems that the base nearly always solves, sometimes, rarely and never."""
    of_64 = {"base": (0, 1, 9, 16, 28, 60), "tuned": (0, 9, 44, 52, 60, 64)}
    for who, draws in (("base", 64), ("tuned", 16)):
        with (folder / f"{who}.jsonl").open("w") as file:
            for problem in range(48):
                for draw in range(draws):
                    # 37 and 64 have no common divisor, so 64 draws hold every remainder once.
                    right = (37 * draw + 11 * problem) % 64 < of_64[who][problem % 6]
                    answer = problem if right else -draw
                    text = f"problem {problem}, attempt {draw} of {who}: the answer is {answer}"
                    row = {"problem_id": f"p{problem}", "prompt": f"What is {problem}?", "completion": text}
                    file.write(json.dumps(row | {"success": right}) + "\n")
    return ["--samples", str(folder / "base.jsonl"), str(folder / "tuned.jsonl"), "--k", "16"]


def golden_runs(folder):
    """Every run, in a folder that is empty."""
    runs = {name: trained(line, folder / name) for name, line in TRAIN.items()}
    tuned = ["chain", str(folder / TUNED / "model"), "--k", "8", "--per-cell", "3", "--device", "cpu"]
    runs["audit of policies"] = audited(tuned, folder / "audit")
    runs["audit of samples"] = audited(sample_files(folder), folder / "samples")
    return {"environment": environment(), "runs": runs}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        json.dump(golden_runs(pathlib.Path(folder)), sys.stdout)
