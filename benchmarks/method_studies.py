"""Run the study of every claim and write the evidence that ships with keyturn.

    python benchmarks/method_studies.py [CLAIM ...] [--profile short|long] [--seeds 1] [--workers 2] [--out DIR]
    python benchmarks/method_studies.py --executor ray    on a cluster that shares the run directory

Every run is a cached stage: an interrupted night goes on where it was. Records go to
src/keyturn/assets/atlas/evidence, with the rows behind them; docs/generate.py makes the pages of them.
"""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import time

from keyturn.atlas import CLAIMS, claim_named
from keyturn.atlas.evidence import record
from keyturn.atlas.store import ASSETS, shipped_document
from keyturn.atlas.verdict import verdict
from keyturn.core.rundir import write_json
from keyturn.experiments.contract import Subject
from keyturn.experiments.study import run_study
from keyturn.lab.workers import executor_named

AUDITED = {"rl-deploys": ("graph", "chain"), "rl-narrows": ("graph", "chain")}
"""Bases of the claims that are one audit and hold of any base; the others run on their own."""

SHARED = "present-and-absent"
"""Claims about this experiment read one table, so they share a run directory and with it their stages."""


def commit():
    """The commit that is run; none outside a checkout."""
    asked = ["git", "rev-parse", "--short=12", "HEAD"]
    found = subprocess.run(
        asked, cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {"commit": found.stdout.strip()} if found.returncode == 0 else {}


def result_of(claim, subject, root, executor):
    """One run of a study: its record, without a folder of this machine, and what is behind it."""
    other_base = f"-{subject.base}" if subject.base != claim.default.base else ""
    seed = f"-{subject.seed}" if subject.seed else ""
    about = SHARED if SHARED in claim.methods else claim.id
    place = root / f"{about}{other_base}-{subject.profile}{seed}"
    outcome = run_study(claim, subject, place, executor=executor)
    made = record(claim, subject, outcome)
    details = {
        "setting": outcome.setting,
        "contrasts": list(outcome.contrasts),
        "rows": list(outcome.rows),
    }
    return dataclasses.replace(made, run="", environment=commit() | made.environment), details


def main():
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", help="ids; all by default")
    parser.add_argument("--profile", default="short", choices=["short", "long"])
    parser.add_argument("--seeds", type=int, default=0, help="records; 0: one of a plan, three of an audit")
    parser.add_argument("--workers", type=int, default=0, help="one-thread processes; 0: the free cores")
    parser.add_argument("--executor", default="processes", help="processes, ray, or ray://host:port")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/studies"))
    asked = parser.parse_args()
    executor = executor_named(asked.executor, workers=asked.workers)
    for claim in [claim_named(name) for name in asked.claims] or CLAIMS.values():
        started = time.monotonic()
        runs = []
        for base in AUDITED.get(claim.id, (claim.default.base,)):
            for seed in range(asked.seeds or (1 if claim.methods else 3)):
                subject = Subject(base=base, profile=asked.profile, seed=seed)
                runs.append(result_of(claim, subject, asked.out, executor))
        write_json(ASSETS / f"{claim.id}.json", shipped_document(claim.id, runs))
        said = verdict(claim, [made for made, _ in runs])
        spent = time.monotonic() - started
        print(f"{claim.id}: {said.state} ({len(runs)} records, {spent:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
