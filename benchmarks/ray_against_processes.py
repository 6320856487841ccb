"""Efficiency of a Ray cluster on this machine: the same trainings by two workers and by two of Ray, in turns.

    python benchmarks/ray_against_processes.py --turns 2

Every job trains GRPO for some steps on the shipped CHAIN base, with one thread, in a folder of its own. Time
runs from the first job to the last result. Ray's start is shown apart, since a cluster is there before it is
used. Writes docs/results/ray.json.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import tempfile
import time

from keyturn.core.rundir import write_json
from keyturn.lab.workers import Job, executor_named

OUT = pathlib.Path(__file__).parents[1] / "docs" / "results" / "ray.json"


def train(folder, steps):
    """One training; its last reward."""
    import keyturn

    done = keyturn.train("grpo", "chain", rl={"steps": steps, "kl_every": 0}, per_cell=24, out=folder)
    return repr(done)


def nothing():
    """What a worker does before the clock starts."""
    import keyturn.policies.local  # noqa: F401

    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    said = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    begun = time.perf_counter()
    sides = {"processes": executor_named("processes", workers=2), "ray": executor_named("ray", workers=2)}
    sides["ray"].run({str(n): Job(function=nothing) for n in range(2)})
    start = time.perf_counter() - begun
    spent = {name: [] for name in sides}
    for turn in range(said.turns):
        for name, executor in sides.items():
            with tempfile.TemporaryDirectory() as scratch:
                folders = {f"{n}": pathlib.Path(scratch) / f"{n}" for n in range(said.jobs)}
                jobs = {
                    key: Job(function=train, arguments=(folder, said.steps)) for key, folder in folders.items()
                }
                begun = time.perf_counter()
                executor.run(jobs)
                spent[name].append(time.perf_counter() - begun)
            print(turn, name, f"{spent[name][-1]:.1f} s", flush=True)
    best = {name: statistics.median(times) for name, times in spent.items()}
    found = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "jobs": said.jobs,
        "steps": said.steps,
        "seconds": spent,
        "ray start, seconds": start,
        "efficiency": best["processes"] / best["ray"],
        "load": os.getloadavg()[0],
    }
    write_json(OUT, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
